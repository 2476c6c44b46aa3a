"""What a sender is told about a delivery."""

import time
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from gaugehouse.errors import RowProblem
from gaugehouse.lake import Appended, KeyedAnswer

MAX_CONFLICTS_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The durable outcome of one delivery: accepted + duplicates + conflicts + rejected = rows sent.

    Args:
        accepted: Rows that are new and on disk.
        duplicates: Rows that were known with the same value.
        conflicts: Rows that were known with another value; the first value stands.
        late: Accepted rows that were not newer than their series.
        received_at: Instant of the log record; None when there was no good row to append.
        conflict_rows: The first 20 conflicts: component, metric, measured_at, stored_value, stored_quality,
            refused_value, refused_quality.
        rejected: Bad rows that were left out (only with `partial`).
        problems: The first 20 bad cells.
    """

    accepted: int
    duplicates: int
    conflicts: int
    late: int
    received_at: datetime | None
    conflict_rows: tuple[dict[str, object], ...] = ()
    rejected: int = 0
    problems: tuple[RowProblem, ...] = ()


_WRITTEN = TypeAdapter(Receipt)


def write_receipt(receipt: Receipt) -> bytes:
    """Return a receipt as the JSON that its sender gets."""
    return _WRITTEN.dump_json(receipt)


def receipt_of(appended: Appended, *, rejected: int = 0, problems: tuple[RowProblem, ...] = ()) -> Receipt:
    """Return the receipt of rows that went into the lake, beside those that were left out."""
    conflicts = len(appended.conflicts)
    return Receipt(
        accepted=appended.accepted,
        duplicates=appended.duplicates,
        conflicts=conflicts,
        late=appended.late,
        received_at=appended.received_at,
        conflict_rows=tuple(appended.conflicts.slice(0, MAX_CONFLICTS_NAMED).to_pylist()) if conflicts else (),
        rejected=rejected,
        problems=problems,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What makes the lake keep a receipt with the rows: for a sender that may ask again what became of them.

    Args:
        key: From `answer_key`.
        fingerprint: SHA-256 of the request's body.
        status: Of the answer.
    """

    key: bytes
    fingerprint: bytes
    status: int

    def answer(self, receipt: Receipt) -> KeyedAnswer:
        """Return a receipt as it is kept."""
        return KeyedAnswer(
            key=self.key,
            fingerprint=self.fingerprint,
            status=self.status,
            body=write_receipt(receipt),
            answered_at_us=time.time_ns() // 1_000,
        )
