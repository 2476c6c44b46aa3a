"""The one place where keys are claimed, rows stamped and the log appended to.

Requests come from many threads. One lock makes claiming atomic; it is held for microseconds per row and never while
a data file is read; a disk is synced under it only when a segment is sealed. `view_lock` guards what readers pin:
files, hot rows and how many of them are visible.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from gaugehouse.errors import NotFound, Overloaded, Unavailable
from gaugehouse.lake.claims import Classified, Unsure, Verdicts, classify, no_verdicts
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.keyhash import Int64s
from gaugehouse.lake.known import (
    BatchColumns,
    SeriesIndex,
    columns_of_batch,
    numbered_rows,
)
from gaugehouse.lake.log import Log
from gaugehouse.lake.recent import RecentKeys, generation_of
from gaugehouse.lake.rows import EVENTS, MEASUREMENTS, TABLES, HotRows, Rows, TableSpec, timestamp_array
from gaugehouse.lake.segments import LogRecord
from gaugehouse.measurements.schema import EVENT_BATCH, TIMESTAMP
from gaugehouse.measurements.selection import from_epoch_us

CONFLICT_KIND = "conflict"
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


@dataclass(slots=True, kw_only=True)
class Segment:
    """Rows of one log segment that are not in the files yet."""

    number: int
    hot: dict[str, HotRows] = field(default_factory=lambda: {name: HotRows(spec) for name, spec in TABLES.items()})
    crc: int = 0
    size_bytes: int = 0
    first_us: int = -1
    through_us: int = -1
    opened_at_s: float = 0.0

    @property
    def rows(self) -> int:
        return sum(hot.count for hot in self.hot.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A written record that becomes visible when the log is durable up to `position`."""

    position: int
    segment: Segment
    counts: dict[str, int]
    received_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The batch of one table in a delivery, in every shape that can be made of it without a lock."""

    batch: pa.Table
    columns: BatchColumns
    ipc: bytes


def _part(batch: pa.Table, spec: TableSpec) -> _Part:
    return _Part(batch=batch, columns=columns_of_batch(batch, spec), ipc=to_ipc(batch))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delivery:
    """What one request brings: parts of one project, empty where it brings none."""

    project: str
    parts: dict[str, _Part]
    counted: str  # the table that the receipt is about


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unjudged:
    """Rows per table that need a look into the files of this generation."""

    generation: int
    files: Files
    rows: dict[str, Rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Untold:
    """Conflicts that need events before anything can be claimed: many would keep the lock for seconds."""

    conflicts: pa.Table


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The events of a delivery, with one for each of these conflicts."""

    conflicts: pa.Table
    events: _Part


def _tell(delivery: _Delivery, conflicts: pa.Table) -> _Told:
    batch = delivery.parts["events"].batch
    if conflicts.num_rows:
        batch = pa.concat_tables([batch, conflict_events(conflicts)]).unify_dictionaries()
    return _Told(conflicts=conflicts, events=_part(batch, EVENTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    position: int
    receipt: Appended


Lookup = Callable[[TableSpec, Rows, Sequence[FileEntry]], Rows]


def now_us() -> int:
    return time.time_ns() // 1_000


class Sequencer:
    """Claims keys, stamps rows, appends to the log, and publishes what is durable."""

    def __init__(self, *, recent_keys_bytes: int, unflushed_limit_bytes: int, series_limit: int) -> None:
        self.lock = threading.Lock()
        self.view_lock = threading.Lock()
        self.indexes = {name: SeriesIndex(spec) for name, spec in TABLES.items()}
        self.recent = {name: RecentKeys(index, recent_keys_bytes) for name, index in self.indexes.items()}
        self.files: Files = dict.fromkeys(TABLES, ())
        self.sealed: list[Segment] = []
        self.active = Segment(number=-1)
        self.generation = 0
        self.last_received_us = -1
        self.visible_through_us = -1
        self.last_append_s = 0.0
        self.lookup: Lookup = _no_lookup
        self.refuse_when_unfit: Callable[[], None] = lambda: None
        self._log: Log | None = None
        self._is_stopped = False
        self.closed_projects: dict[str, float] = {}  # deleted ones, until when [monotonic s]
        self._pending: deque[_Pending] = deque()
        self._unflushed_limit_bytes = unflushed_limit_bytes
        self._series_limit = series_limit

    @property
    def log(self) -> Log:
        assert self._log is not None  # noqa: S101 - set by `start` before anyone can append
        return self._log

    def start(self, log: Log, *, number: int) -> None:
        """Begin to append to `log`, whose open segment is `number`."""
        self._log = log
        log.on_durable = self._publish
        self.active = Segment(number=number)

    def stop(self) -> None:
        """Refuse every further delivery; those before it are in the log when this returns."""
        with self.lock:
            self._is_stopped = True

    def unflushed_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self.sealed) + self.log.size_bytes

    def unflushed_rows(self) -> int:
        return sum(segment.rows for segment in [*self.sealed, self.active])

    def append(self, project: str, batches: dict[str, pa.Table]) -> Appended:
        """Store what is new of a delivery; return once it is durable.

        Raises:
            Overloaded: too much is waiting to be flushed.
            StorageFull, Unavailable: the disk refused; nothing was stored.
        """
        parts = {
            name: _part(batches[name], spec) if name in batches else NO_PARTS[name] for name, spec in TABLES.items()
        }
        counted = "measurements" if "measurements" in batches else "events"
        delivery = _Delivery(project=project, parts=parts, counted=counted)
        verdicts: dict[str, Verdicts] = {}
        told = _Told(conflicts=NO_CONFLICTS, events=parts["events"])
        while True:
            with self.lock:
                outcome = self._claim(delivery, verdicts, told)
            if isinstance(outcome, _Written):
                break
            if isinstance(outcome, _Untold):
                told = _tell(delivery, outcome.conflicts)
            else:
                verdicts = self._look_up(outcome, verdicts)
        self.log.wait_durable(outcome.position)
        return outcome.receipt

    def _look_up(self, unjudged: _Unjudged, earlier: dict[str, Verdicts]) -> dict[str, Verdicts]:
        """Ask the files, outside the lock, about rows that memory cannot judge."""
        answers = {name: v for name, v in earlier.items() if v.generation == unjudged.generation}
        for name, rows in unjudged.rows.items():
            stored = self.lookup(TABLES[name], rows, unjudged.files[name])
            answers[name] = Verdicts(generation=unjudged.generation, asked=rows, stored=stored)
        return answers

    def _claim(self, delivery: _Delivery, verdicts: dict[str, Verdicts], told: _Told) -> _Written | _Unjudged | _Untold:
        if self._is_stopped:
            raise Unavailable("the lake is closing; nothing of this request was stored", retry_after_s=5)
        if self.closed_projects.get(delivery.project, 0.0) > time.monotonic():
            raise NotFound("this project was deleted")
        self.refuse_when_unfit()
        if self.unflushed_bytes() > self._unflushed_limit_bytes:
            raise Overloaded("too many rows wait to be written to the lake; send again shortly", retry_after_s=5)
        rows = self._number(delivery.project, delivery.parts["measurements"], MEASUREMENTS)
        measured = self._classify(rows, MEASUREMENTS, verdicts)
        if isinstance(measured, Unsure):
            return self._unjudged(MEASUREMENTS, measured)
        outcome: _Written | _Unjudged | _Untold | None = None
        try:
            outcome = self._claim_measured(delivery, verdicts, told, rows, measured)
        finally:
            if not isinstance(outcome, _Written):
                measured.undo()
        return outcome

    def _claim_measured(
        self, delivery: _Delivery, verdicts: dict[str, Verdicts], told: _Told, rows: Rows, measured: Classified
    ) -> _Written | _Unjudged | _Untold:
        """Claim the events, those of conflicts included, and write it all down."""
        conflicts = self._conflicts(rows, measured)
        if not conflicts.equals(told.conflicts):
            return _Untold(conflicts=conflicts)
        event_rows = self._number(delivery.project, told.events, EVENTS)
        happened = self._classify(event_rows, EVENTS, verdicts)
        if isinstance(happened, Unsure):
            return self._unjudged(EVENTS, happened)
        try:
            position = self._write(
                delivery.project,
                {"measurements": delivery.parts["measurements"], "events": told.events},
                {"measurements": rows, "events": event_rows},
                {"measurements": measured, "events": happened},
            )
        except BaseException:
            happened.undo()
            raise
        return _Written(position=position, receipt=self._receipt(delivery, measured, happened, conflicts))

    def _number(self, project: str, part: _Part, spec: TableSpec) -> Rows:
        return numbered_rows(self.indexes[spec.name], project, part.columns, series_limit=self._series_limit)

    def _classify(self, rows: Rows, spec: TableSpec, verdicts: dict[str, Verdicts]) -> Classified | Unsure:
        answers = verdicts.get(spec.name)
        if answers is None or answers.generation != self.generation:
            answers = no_verdicts(spec, self.generation)
        hot = [segment.hot[spec.name] for segment in [*self.sealed, self.active]]
        return classify(rows, self.indexes[spec.name], hot, self.recent[spec.name], answers)

    def _unjudged(self, spec: TableSpec, unsure: Unsure) -> _Unjudged:
        return _Unjudged(generation=self.generation, files=self.files, rows={spec.name: unsure.rows})

    def _conflicts(self, rows: Rows, measured: Classified) -> pa.Table:
        if not measured.conflict_at.size:
            return NO_CONFLICTS
        refused = rows.take(measured.conflict_at)
        index = self.indexes["measurements"]
        components, metrics = index.name_columns(refused.series)
        arrays = [
            components.cast(pa.string()),
            metrics.cast(pa.string()),
            timestamp_array(refused.t),
            pa.array(measured.conflict_stored["value"], pa.float64(), from_pandas=True),
            pa.array(measured.conflict_stored["quality"], pa.uint8()),
            pa.array(refused.payload["value"], pa.float64(), from_pandas=True),
            pa.array(refused.payload["quality"], pa.uint8()),
        ]
        return pa.Table.from_arrays(arrays, schema=CONFLICTS)

    def _write(
        self, project: str, parts: dict[str, _Part], rows: dict[str, Rows], outcomes: dict[str, Classified]
    ) -> int:
        """Append the accepted rows as one record and claim their keys; return the position to wait for."""
        accepted = {name: _accepted(parts[name], outcome) for name, outcome in outcomes.items()}
        if not any(accepted.values()):
            # Duplicates of a row that is still pending are acknowledged with it.
            return self.log.written
        received_at_us = max(now_us(), self.last_received_us + 1)
        record = LogRecord(
            received_at_us=received_at_us,
            project=project,
            measurements=accepted["measurements"],
            events=accepted["events"],
        )
        stamped = {name: _stamped(rows[name], outcomes[name], received_at_us) for name in rows}

        def hold(position: int) -> None:
            self.take_rows(self.active, stamped, received_at_us)
            counts = {name: hot.count for name, hot in self.active.hot.items()}
            self._pending.append(
                _Pending(position=position, segment=self.active, counts=counts, received_at_us=received_at_us)
            )

        position = self.log.append(record, hold)
        self.last_received_us = received_at_us
        self.last_append_s = time.monotonic()
        return position

    def take_rows(self, segment: Segment, rows: dict[str, Rows], received_at_us: int) -> None:
        """Hold rows of a log record as hot rows of its segment."""
        if segment.rows == 0:
            segment.opened_at_s = time.monotonic()
            segment.first_us = received_at_us
        for name, part in rows.items():
            if len(part):
                segment.hot[name].append(part)
        segment.through_us = received_at_us

    def _publish(self, position: int) -> None:
        """Make every record up to `position` visible, in order. Called by the one thread that has just synced."""
        while self._pending and self._pending[0].position <= position:
            done = self._pending.popleft()
            while self._pending and self._pending[0].position <= position and self._pending[0].segment is done.segment:
                done = self._pending.popleft()  # records of one segment show in one step, whole ones all the same
            with self.view_lock:
                self.publish_segment(done.segment, done.counts)
                self.visible_through_us = done.received_at_us

    def publish_segment(self, segment: Segment, counts: dict[str, int]) -> None:
        """Show the first `counts` rows of each table of a segment."""
        for name, hot in segment.hot.items():
            if counts[name] > hot.visible:
                self.indexes[name].publish(hot.view(counts[name], hot.visible))
                hot.visible = counts[name]

    def _receipt(
        self, delivery: _Delivery, measured: Classified, happened: Classified, conflicts: pa.Table
    ) -> Appended:
        counted = measured if delivery.counted == "measurements" else happened
        return Appended(
            accepted=int(np.count_nonzero(counted.is_accepted)),
            duplicates=counted.duplicates,
            late=counted.late,
            conflicts=conflicts,
            received_at=from_epoch_us(max(self.last_received_us, 0)),
        )

    def seal(self) -> None:
        """Close the active segment, if it holds rows, and open the next."""
        with self.lock:
            if self.active.rows == 0:
                return
            self.active.size_bytes = self.log.size_bytes
            _number, self.active.crc = self.log.seal()
            with self.view_lock:
                self.sealed = [*self.sealed, self.active]
                self.active = Segment(number=self.log.number)

    def replace_files(self, table: str, removed: Collection[str], added: Sequence[FileEntry]) -> None:
        """Show other files to every reader from now on: the same rows in other files, or fewer of them."""
        gone = {*removed, *(entry.path for entry in added)}
        with self.view_lock:
            kept = tuple(entry for entry in self.files[table] if entry.path not in gone)
            self.files = self.files | {table: (*kept, *added)}

    def retire(self, segment: Segment, current_files: Callable[[], Files]) -> None:
        """Swap a segment's hot rows for the files that hold them now, in one step for every reader.

        `current_files` is asked at that moment: a compaction may have replaced files meanwhile.
        """
        plans = {name: self.recent[name].plan(generation_of(hot.view(hot.count))) for name, hot in segment.hot.items()}
        with self.lock:
            for name, plan in plans.items():
                self.recent[name].take(plan)
            with self.view_lock:
                self.files = current_files()
                self.sealed = [other for other in self.sealed if other is not segment]
            self.generation += 1


def _no_lookup(spec: TableSpec, rows: Rows, files: Sequence[FileEntry]) -> Rows:  # noqa: ARG001 - a Lookup
    return no_verdicts(spec, 0).stored


def _accepted(part: _Part, outcome: Classified) -> bytes:
    """Return the accepted rows of a part as they go into the log, empty for none."""
    if outcome.is_accepted.all():
        return part.ipc
    return to_ipc(part.batch.filter(pa.array(outcome.is_accepted)))


def _stamped(rows: Rows, outcome: Classified, received_at_us: int) -> Rows:
    kept = rows if outcome.is_accepted.all() else rows.take(outcome.is_accepted)
    stamps: Int64s = np.full(len(kept), received_at_us, np.int64)
    return Rows(series=kept.series, t=kept.t, extra=kept.extra, received_at=stamps, payload=kept.payload)


def to_ipc(table: pa.Table) -> bytes:
    """Return a table as an Arrow IPC stream, empty for no rows."""
    if table.num_rows == 0:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.unify_dictionaries())
    return bytes(memoryview(sink.getvalue()))


NO_PARTS = {spec.name: _part(spec.batch.empty_table(), spec) for spec in TABLES.values()}
NO_CONFLICTS = CONFLICTS.empty_table()


def from_ipc(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()


def conflict_events(conflicts: pa.Table) -> pa.Table:
    """Return one event per conflict: what was refused and what stands. Conflicts are rare, so rows go one by one."""
    bodies = [
        json.dumps(
            {
                "metric": row["metric"],
                "measured_at": row["measured_at"].isoformat(),
                "stored_value": row["stored_value"],
                "stored_quality": row["stored_quality"],
                "refused_value": row["refused_value"],
                "refused_quality": row["refused_quality"],
            },
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        for row in conflicts.to_pylist()
    ]
    hashes = [blake2b(body.encode(), digest_size=16).digest() for body in bodies]
    kinds = pa.array([CONFLICT_KIND] * len(bodies), pa.string())
    return pa.Table.from_arrays(
        [
            conflicts.column("component").combine_chunks().dictionary_encode(),
            kinds.dictionary_encode(),
            conflicts.column("measured_at").combine_chunks(),
            pa.array(bodies, pa.string()),
            pa.array(hashes, pa.binary(16)),
        ],
        schema=EVENT_BATCH,
    )
