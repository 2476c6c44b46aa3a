"""What a sender is told about a delivery."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from gaugehouse.errors import RowProblem
from gaugehouse.lake import Appended

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
