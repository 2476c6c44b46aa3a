"""Everything that can be refused, as one tree. No HTTP here: `web/problems.py` maps kinds to statuses.

```
GaugehouseError
├── Unreadable             invalid          the payload is not what its type says (bad JSON, broken Parquet)
├── Refused                refused          readable, but its content is not acceptable
│   ├── RowsRefused                         one or more rows of a batch are bad; names the first 20
│   ├── LinesRefused                        the same of line protocol, which is read by line
│   └── PeriodRefused                       a period, zone or bucket expression cannot be understood
├── Unauthenticated        unauthenticated  no or no valid credentials
├── Forbidden              forbidden        valid credentials without the scope
├── NotFound               missing          does not exist, or is not yours
├── AlreadyExists          conflict         the name is taken, or the state does not allow it
├── TooLarge               too_large        over a documented limit
├── UnsupportedFormat      unsupported      a media type or encoding that is not read
├── NotAcceptable          not_acceptable   a media type that is not written
├── TooSlow                too_slow         the sender took too long
├── Throttled              throttled        too many requests
├── StorageFull            full             below the free-space water mark
├── Unavailable            unavailable      cannot serve right now, try again
│   └── Overloaded                          unflushed rows are over the limit
└── StartRefused           start_refused    this process must not start (lock held, damage found, clock behind)
    ├── LakeLocked
    └── DamageFound
```
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """How a caller should react; each edge (HTTP, CLI, jobs) maps kinds once."""

    INVALID = "invalid"
    REFUSED = "refused"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    NOT_ACCEPTABLE = "not_acceptable"
    TOO_SLOW = "too_slow"
    THROTTLED = "throttled"
    FULL = "full"
    UNAVAILABLE = "unavailable"
    START_REFUSED = "start_refused"


class GaugehouseError(Exception):
    """Root of the tree: a sentence for people, a stable code for programs.

    Args:
        message: One sentence: what was wrong, with the offending value, and what to do. Never a secret or a path.
        code: Stable snake_case code; the class's own by default.
        fields: Extra members for the error body, JSON-able.
        retry_after_s: When a repetition can succeed. [s]
    """

    kind: ClassVar[Kind] = Kind.REFUSED
    default_code: ClassVar[str] = "refused"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        fields: Mapping[str, object] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.fields: dict[str, object] = dict(fields or {})
        self.retry_after_s = retry_after_s


class Unreadable(GaugehouseError):
    kind = Kind.INVALID
    default_code = "unreadable"


class Refused(GaugehouseError):
    kind = Kind.REFUSED
    default_code = "refused"


class PeriodRefused(Refused):
    default_code = "period_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """One bad row: its 0-based position in the payload, the column, and why."""

    row: int
    field: str
    reason: str

    def as_fields(self) -> dict[str, object]:
        return {"row": self.row, "field": self.field, "reason": self.reason}


MAX_ROWS_NAMED = 20  # an error body stays below 8 KiB


class RowsRefused(Refused):
    """Rows of a batch are bad; `problems` holds the first 20, `bad_rows` counts all."""

    default_code = "rows_refused"

    def __init__(self, problems: Sequence[RowProblem], *, bad_rows: int, code: str | None = None) -> None:
        named = [problem.as_fields() for problem in problems[:MAX_ROWS_NAMED]]
        first = problems[0]
        super().__init__(
            f"{bad_rows} of the rows cannot be stored; the first is row {first.row}: {first.field} {first.reason}",
            code=code,
            fields={"errors": named, "bad_rows": bad_rows},
        )
        self.problems = tuple(problems)
        self.bad_rows = bad_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class LineProblem:
    """One bad line: its 1-based number in the payload, the field (or part of the line), and why."""

    line: int
    field: str
    reason: str

    def as_fields(self) -> dict[str, object]:
        return {"line": self.line, "field": self.field, "reason": self.reason}


class LinesRefused(Refused):
    """Lines of line protocol are bad; `problems` holds the first 20, `bad_lines` counts all."""

    default_code = "lines_refused"

    def __init__(self, problems: Sequence[LineProblem], *, bad_lines: int, code: str | None = None) -> None:
        named = [problem.as_fields() for problem in problems[:MAX_ROWS_NAMED]]
        first = problems[0]
        super().__init__(
            f"{bad_lines} of the lines cannot be stored, so none was; the first is line {first.line}:"
            f" {first.field} {first.reason}",
            code=code,
            fields={"errors": named, "bad_lines": bad_lines},
        )
        self.problems = tuple(problems)
        self.bad_lines = bad_lines


class Unauthenticated(GaugehouseError):
    kind = Kind.UNAUTHENTICATED
    default_code = "unauthenticated"


class Forbidden(GaugehouseError):
    kind = Kind.FORBIDDEN
    default_code = "forbidden"


class NotFound(GaugehouseError):
    kind = Kind.MISSING
    default_code = "not_found"


class AlreadyExists(GaugehouseError):
    kind = Kind.CONFLICT
    default_code = "already_exists"


class TooLarge(GaugehouseError):
    kind = Kind.TOO_LARGE
    default_code = "too_large"


class UnsupportedFormat(GaugehouseError):
    kind = Kind.UNSUPPORTED
    default_code = "unsupported_format"


class NotAcceptable(GaugehouseError):
    kind = Kind.NOT_ACCEPTABLE
    default_code = "not_acceptable"


class TooSlow(GaugehouseError):
    kind = Kind.TOO_SLOW
    default_code = "too_slow"


class Throttled(GaugehouseError):
    kind = Kind.THROTTLED
    default_code = "throttled"


class StorageFull(GaugehouseError):
    kind = Kind.FULL
    default_code = "storage_full"


class Unavailable(GaugehouseError):
    kind = Kind.UNAVAILABLE
    default_code = "unavailable"


class Overloaded(Unavailable):
    default_code = "overloaded"


class StartRefused(GaugehouseError):
    kind = Kind.START_REFUSED
    default_code = "start_refused"


class LakeLocked(StartRefused):
    default_code = "lake_locked"


class DamageFound(StartRefused):
    default_code = "damage_found"


EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def is_exhausted(exc: BaseException) -> bool:
    """Say whether it is this process that has no descriptors or memory left: nothing is wrong with file or request."""
    return isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno in EXHAUSTED)
