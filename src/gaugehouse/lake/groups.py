"""Deliveries that go through the sequencer together: as one batch in, as a receipt for each out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa

from gaugehouse.lake.claims import Classified, Positions, Verdicts
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.keyhash import Int64s
from gaugehouse.lake.known import BatchColumns, columns_of_batch
from gaugehouse.lake.rows import TABLES, Rows, TableSpec
from gaugehouse.lake.segments import KeyedAnswer
from gaugehouse.limits import NO_QUOTA, Quota, strictest
from gaugehouse.measurements.few import FewMeasurements, few_to_arrow
from gaugehouse.measurements.schema import TIMESTAMP

Files = dict[str, tuple[FileEntry, ...]]

CONFLICTS = pa.schema(
    [
        pa.field("component", pa.string()),
        pa.field("metric", pa.string()),
        pa.field("measured_at", TIMESTAMP),
        pa.field("stored_value", pa.float64()),
        pa.field("stored_quality", pa.uint8()),
        pa.field("refused_value", pa.float64()),
        pa.field("refused_quality", pa.uint8()),
    ]
)
NO_CONFLICTS = CONFLICTS.empty_table()


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What became of one delivery, once it is durable.

    Args:
        accepted: New rows, now on the disk.
        duplicates: Rows that repeat a known row and changed nothing.
        late: Accepted rows that are not newer than their series was.
        conflicts: Rows that contradict a known row, in the schema CONFLICTS; each is kept as an event.
        received_at: The stamp of the accepted rows; for none, the newest stamp there is.
    """

    accepted: int
    duplicates: int
    late: int
    conflicts: pa.Table
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one sender brings to one project.

    Args:
        batches: Rows by table.
        answer: Makes what the sender is told, to be kept with the rows; called under the sequencer's lock.
        quota: What its project may keep and bring.
    """

    batches: Mapping[str, pa.Table | FewMeasurements]
    answer: Callable[[Appended], KeyedAnswer] | None = None
    quota: Quota = NO_QUOTA

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(len(batch) for batch in self.batches.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Rows per table that need a look into the files of this generation."""

    generation: int
    files: Files
    rows: dict[str, Rows]
    at: dict[str, Positions] = field(default_factory=dict)  # of these rows in the delivery, where no others are with it


@dataclass(slots=True, kw_only=True)
class Waiting:
    """A delivery on its way: it has an outcome, or a question that comes first, or neither yet."""

    delivery: Delivery
    verdicts: dict[str, Verdicts] = field(default_factory=dict)
    question: Question | None = None
    outcome: Appended | BaseException | None = None
    alone: "Group | None" = None  # the group of this delivery alone, made once for however many attempts

    def result(self) -> Appended:
        """Return what became of it, or raise what went wrong."""
        assert self.outcome is not None  # noqa: S101 - asked only when it is settled
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The batch of one table, in every shape that can be made of it without a lock."""

    batch: pa.Table
    columns: BatchColumns
    ipc: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Deliveries of one project as one batch per table.

    Args:
        project: Of all.
        deliveries: In order of arrival.
        parts: The rows by table.
        ends: The row behind each delivery's last, per table.
        quota: The strictest of theirs; what that refuses is judged again one by one, each by its own.
    """

    project: str
    deliveries: Sequence[Delivery]
    parts: dict[str, Part]
    ends: dict[str, Int64s]
    quota: Quota

    def count_new(self, outcomes: Mapping[str, Classified]) -> int:
        """Return how many rows are new; events that tell of conflicts were brought by nobody."""
        return sum(
            int(np.count_nonzero(outcome.is_accepted[: self.ends[table][-1]])) for table, outcome in outcomes.items()
        )

    def members_of(self, table: str, at: Positions, conflicts: Classified | None = None) -> Positions:
        """Return which delivery brought the rows at these positions; events behind all are those of `conflicts`."""
        members = np.searchsorted(self.ends[table], at, side="right")
        if conflicts is not None and conflicts.conflict_at.size:
            is_told = members == len(self.deliveries)
            told_by = self.members_of("measurements", conflicts.conflict_at)
            members[is_told] = told_by[at[is_told] - self.ends[table][-1]]
        return members

    def receipts(
        self, outcomes: Mapping[str, Classified], conflicts: pa.Table, received_at: datetime
    ) -> list[Appended]:
        """Return what became of each delivery; `conflicts` are those of all, in order."""
        count = len(self.deliveries)
        accepted, duplicates, late = (np.zeros(count, np.int64) for _ in range(3))
        for table, outcome in outcomes.items():
            accepted += self._counts(table, np.flatnonzero(outcome.is_accepted))
            duplicates += self._counts(table, outcome.duplicate_at)
            late += self._counts(table, outcome.late_at)
        conflicting = self._counts("measurements", outcomes["measurements"].conflict_at)
        starts = np.cumsum(conflicting) - conflicting
        figures = (accepted, duplicates, late, conflicting, starts)
        return [
            Appended(
                accepted=new,
                duplicates=known,
                late=old,
                conflicts=conflicts.slice(start, contrary) if contrary else NO_CONFLICTS,
                received_at=received_at,
            )
            for new, known, old, contrary, start in zip(*(figure.tolist() for figure in figures), strict=True)
        ]

    def _counts(self, table: str, at: Positions) -> Int64s:
        """Return how many of these positions lie in each delivery; events that tell of conflicts lie in none."""
        count = len(self.deliveries)
        if count == 1:
            return np.full(1, np.count_nonzero(at < self.ends[table][-1]))
        if not at.size:
            return np.zeros(count, np.int64)
        return np.bincount(self.members_of(table, at), minlength=count)[:count]


def part_of(batch: pa.Table, spec: TableSpec) -> Part:
    return Part(batch=batch, columns=columns_of_batch(batch, spec), ipc=to_ipc(batch))


def group_of(project: str, deliveries: Sequence[Delivery]) -> Group:
    """Return deliveries as one batch per table, in order."""
    parts: dict[str, Part] = {}
    ends: dict[str, Int64s] = {}
    for name, spec in TABLES.items():
        batches = [delivery.batches.get(name) for delivery in deliveries]
        ends[name] = np.cumsum([0 if batch is None else len(batch) for batch in batches])
        given = [batch for batch in batches if batch is not None and len(batch)]
        parts[name] = part_of(_together(given), spec) if given else NO_PARTS[name]
    quota = strictest([delivery.quota for delivery in deliveries])
    return Group(project=project, deliveries=deliveries, parts=parts, ends=ends, quota=quota)


def _together(batches: Sequence[pa.Table | FewMeasurements]) -> pa.Table:
    """Return batches as one; neighbours that are lists become Arrow together."""
    tables: list[pa.Table] = []
    few: list[FewMeasurements] = []
    for batch in batches:
        if isinstance(batch, FewMeasurements):
            few.append(batch)
            continue
        tables += [few_to_arrow(few), batch] if few else [batch]
        few = []
    if few:
        tables.append(few_to_arrow(few))
    if len(tables) == 1:
        return tables[0]
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def to_ipc(table: pa.Table) -> bytes:
    """Return a table as an Arrow IPC stream, empty for no rows."""
    if table.num_rows == 0:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.unify_dictionaries())
    return bytes(memoryview(sink.getvalue()))


NO_PARTS = {spec.name: part_of(spec.batch.empty_table(), spec) for spec in TABLES.values()}
