"""What `lake verify` says: findings, each with a stable code, and one verdict."""

from dataclasses import dataclass, field

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as promised.

    Args:
        code: Stable name of the situation.
        is_damage: False for what a stop without warning may leave behind and the next start tidies up.
        what: One sentence.
        table: Of the lake, empty for the log.
        project: Whose rows, where it is about rows.
        month: 'YYYY-MM' of them.
        name: File, path in its table or below `log`.
    """

    code: str
    is_damage: bool
    what: str
    table: str = ""
    project: str = ""
    month: str = ""
    name: str = ""


@dataclass(slots=True, kw_only=True)
class Figures:
    """How much was looked at."""

    files: int = 0
    rows: int = 0
    size_bytes: int = 0
    superseded_files: int = 0
    commits: int = 0
    checkpoints: int = 0
    manifest_lines: int = 0
    segments: int = 0
    segment_rows: int = 0
    duration_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Verdict:
    """The outcome of one verification.

    Args:
        is_online: Whether it ran beside the owner of the lake.
        rows_agree: Whether rows of files, log and memory add up; None when there was nobody to compare with.
        figures: How much was looked at.
        findings: What was found, damage first.
        quarantined: Paths ('table/path') that were set aside because of it.
    """

    is_online: bool
    rows_agree: bool | None = None
    figures: Figures = field(default_factory=Figures)
    findings: list[Finding] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        return any(finding.is_damage for finding in self.findings)
