"""The one place where keys are claimed, rows stamped and the log appended to.

Requests come from many threads. One lock makes claiming atomic; it is held for microseconds per row and never while
a data file is read; a disk is synced under it only when a segment is sealed. `view_lock` guards what readers pin:
files, hot rows and how many of them are visible.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from gaugehouse.errors import NotFound, Overloaded, Refused, Throttled, Unavailable
from gaugehouse.lake.claims import Classified, Positions, Unsure, Verdicts, classify, joined, no_verdicts
from gaugehouse.lake.daily import RowsOfDay
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.groups import (
    CONFLICTS,
    NO_CONFLICTS,
    Appended,
    Delivery,
    Files,
    Group,
    Part,
    Question,
    Waiting,
    group_of,
    part_of,
    to_ipc,
)
from gaugehouse.lake.keyhash import Int64s
from gaugehouse.lake.known import SeriesIndex, numbered_rows
from gaugehouse.lake.log import Log
from gaugehouse.lake.meters import LakeMeters
from gaugehouse.lake.recent import RecentKeys, generation_of
from gaugehouse.lake.rows import EVENTS, MEASUREMENTS, TABLES, HotRows, Rows, TableSpec, concat_rows, timestamp_array
from gaugehouse.lake.segments import KeyedAnswer, LogRecord
from gaugehouse.measurements.heartbeat import ONLINE
from gaugehouse.measurements.schema import EVENT_BATCH
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.tracing import note

CONFLICT_KIND = "conflict"
HEARTBEAT = ONLINE.encode()


@dataclass(slots=True, kw_only=True)
class Segment:
    """Rows of one log segment that are not in the files yet."""

    number: int
    hot: dict[str, HotRows] = field(default_factory=lambda: {name: HotRows(spec) for name, spec in TABLES.items()})
    answers: list[KeyedAnswer] = field(default_factory=list)
    crc: int = 0
    size_bytes: int = 0
    first_us: int = -1
    through_us: int = -1
    opened_at_s: float = 0.0

    @property
    def rows(self) -> int:
        return sum(hot.count for hot in self.hot.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it would be missed."""
        return self.rows == 0 and not self.answers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A written record that becomes visible when the log is durable up to `position`."""

    position: int
    segment: Segment
    counts: dict[str, int]
    received_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unjudged:
    """Rows of a table that need a look into the files of this generation, and which delivery brought each."""

    generation: int
    files: Files
    table: str
    rows: Rows
    at: Positions
    members: Positions

    def _question(self, rows: Rows, at: dict[str, Positions] | None = None) -> Question:
        return Question(generation=self.generation, files=self.files, rows={self.table: rows}, at=at or {})

    def hand_out(self, together: Sequence[Waiting]) -> list[Waiting]:
        """Give each delivery the question of its own rows; return those that have none."""
        if len(together) == 1:
            together[0].question = self._question(self.rows, at={self.table: self.at})
            return []
        for member in np.unique(self.members).tolist():
            together[member].question = self._question(self.rows.take(self.members == member))
        return [one for one in together if one.question is None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Untold:
    """Conflicts that need events before anything can be claimed: many would keep the lock for seconds."""

    conflicts: pa.Table


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The events of a group, with one for each of these conflicts."""

    conflicts: pa.Table
    events: Part


def _group_of(project: str, together: Sequence[Waiting]) -> Group:
    first = together[0]
    if len(together) > 1:
        return group_of(project, [one.delivery for one in together])
    if first.alone is None:
        first.alone = group_of(project, [first.delivery])
    return first.alone


def _tell(group: Group, conflicts: pa.Table) -> _Told:
    batch = group.parts["events"].batch
    if conflicts.num_rows:
        batch = pa.concat_tables([batch, conflict_events(conflicts)]).unify_dictionaries()
    return _Told(conflicts=conflicts, events=part_of(batch, EVENTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claimed:
    """What a group has claimed of each table, before it is written down."""

    parts: dict[str, Part]
    rows: dict[str, Rows]
    outcomes: dict[str, Classified]
    conflicts: pa.Table


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    position: int
    receipts: list[Appended]
    outcomes: Mapping[str, Classified]


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
        self.on_answers: Callable[[Sequence[KeyedAnswer]], None] = lambda _answers: None
        self.meters = LakeMeters()
        self._log: Log | None = None
        self._is_stopped = False
        self.closed_projects: dict[str, float] = {}  # deleted ones, until when [monotonic s]
        self._pending: deque[_Pending] = deque()
        self._unflushed_limit_bytes = unflushed_limit_bytes
        self._series_limit = series_limit
        self.rows_of_day = RowsOfDay()

    @property
    def log(self) -> Log:
        assert self._log is not None  # noqa: S101 - set by `start` before anyone can append
        return self._log

    def start(self, log: Log, *, number: int) -> None:
        """Begin to append to `log`, whose open segment is `number`."""
        self._log = log
        log.on_durable = self._publish
        log.on_synced = self.meters.fsync.observe
        self.active = Segment(number=number)

    def stop(self) -> None:
        """Refuse every further delivery; those before it are in the log when this returns."""
        with self.lock:
            self._is_stopped = True

    def unflushed_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self.sealed) + self.log.size_bytes

    def unflushed_rows(self) -> int:
        return sum(segment.rows for segment in [*self.sealed, self.active])

    def append(self, project: str, delivery: Delivery) -> Appended:
        """Store what is new of a delivery; return once it is durable.

        Raises:
            Overloaded: too much is waiting to be flushed.
            StorageFull, Unavailable: the disk refused; nothing was stored.
        """
        waiting = Waiting(delivery=delivery)
        position = self.write_group(project, [waiting])
        while waiting.question is not None:
            self.look_up([waiting])
            position = self.write_group(project, [waiting])
        appended = waiting.result()
        started_s = time.perf_counter()
        self.log.wait_durable(position)
        note(sync_wait_s=time.perf_counter() - started_s)
        return appended

    def write_group(self, project: str, waiting: Sequence[Waiting]) -> int:
        """Write down what is new of several deliveries as one record; return the position to wait for.

        Each then has its outcome, or the question that files must answer before it can be written. The order of
        deliveries is that of arrival. One that asks for more than its project's quota fails alone.

        Raises:
            GaugehouseError: none of those without an outcome was stored.
        """
        together = list(waiting)
        while together:
            try:
                written = self._claim_together(project, together)
            except (Refused, Throttled) as exc:  # of its names or its number; others may have room
                if len(together) > 1:
                    return max(self.write_group(project, [one]) for one in together)
                together[0].outcome = exc
                return 0
            if isinstance(written, _Written):
                for one, appended in zip(together, written.receipts, strict=True):
                    one.outcome = appended
                return written.position
            together = written.hand_out(together)
        return 0

    def _count(self, group: Group, outcomes: Mapping[str, Classified]) -> None:
        """Count what became of a group's rows. Events behind its own tell of conflicts: nobody sent them."""
        for table, outcome in outcomes.items():
            judged = len(outcome.is_accepted)
            sent = group.parts[table].batch.num_rows if judged else 0
            if not sent:
                continue
            duplicates, late, conflicts = len(outcome.duplicate_at), len(outcome.late_at), len(outcome.conflict_at)
            if judged > sent:
                duplicates = int(np.count_nonzero(outcome.duplicate_at < sent))
                late = int(np.count_nonzero(outcome.late_at < sent))
            accepted = sent - duplicates - conflicts
            self.meters.count(
                group.project, table, accepted=accepted, duplicates=duplicates, conflicts=conflicts, late=late
            )
            if table == MEASUREMENTS.name:
                heartbeats = group.parts[table].columns.count_topic(HEARTBEAT, outcome.is_accepted)
                if heartbeats:
                    self.meters.count_heartbeats(group.project, heartbeats)

    def look_up(self, waiting: Sequence[Waiting]) -> None:
        """Ask the files, outside the lock, about rows that memory cannot judge: one look for all deliveries."""
        asked: dict[tuple[str, int], list[Waiting]] = {}
        for one in waiting:
            if one.question is not None:
                for name in one.question.rows:
                    asked.setdefault((name, one.question.generation), []).append(one)
        for (name, generation), several in asked.items():
            questions = [one.question for one in several if one.question is not None]
            rows = concat_rows([question.rows[name] for question in questions], TABLES[name])
            stored = self.lookup(TABLES[name], rows, questions[0].files[name])
            for one, question in zip(several, questions, strict=True):
                places = question.at.get(name)
                fresh = Verdicts(generation=generation, asked=question.rows[name], stored=stored, at=places)
                known = [one.verdicts[name]] if name in one.verdicts else []
                one.verdicts[name] = joined(TABLES[name], generation, [*known, fresh])
        for one in waiting:
            one.question = None

    def _claim_together(self, project: str, together: Sequence[Waiting]) -> _Written | _Unjudged:
        group = _group_of(project, together)
        told = _Told(conflicts=NO_CONFLICTS, events=group.parts["events"])
        while True:
            with self.lock:
                outcome = self._claim(group, together, told)
            if isinstance(outcome, _Written):
                self._count(group, outcome.outcomes)
            if not isinstance(outcome, _Untold):
                return outcome
            told = _tell(group, outcome.conflicts)

    def _refuse(self, project: str) -> None:
        """Raise whatever keeps every delivery out right now."""
        if self._is_stopped:
            raise Unavailable("the lake is closing; nothing of this request was stored", retry_after_s=5)
        if self.closed_projects.get(project, 0.0) > time.monotonic():
            raise NotFound("this project was deleted")
        self.refuse_when_unfit()
        if self.unflushed_bytes() > self._unflushed_limit_bytes:
            raise Overloaded("too many rows wait to be written to the lake; send again shortly", retry_after_s=5)

    def _claim(self, group: Group, together: Sequence[Waiting], told: _Told) -> _Written | _Unjudged | _Untold:
        self._refuse(group.project)
        rows = self._number(group, group.parts["measurements"], MEASUREMENTS)
        measured = self._classify(rows, MEASUREMENTS, together)
        if isinstance(measured, Unsure):
            members = group.members_of("measurements", measured.at)
            return self._unjudged("measurements", measured, members)
        outcome: _Written | _Unjudged | _Untold | None = None
        try:
            outcome = self._claim_measured(group, together, told, rows, measured)
        finally:
            if not isinstance(outcome, _Written):
                measured.undo()
        return outcome

    def _claim_measured(
        self, group: Group, together: Sequence[Waiting], told: _Told, rows: Rows, measured: Classified
    ) -> _Written | _Unjudged | _Untold:
        """Claim the events, those of conflicts included, and write it all down."""
        conflicts = self._conflicts(rows, measured)
        if not conflicts.equals(told.conflicts):
            return _Untold(conflicts=conflicts)
        event_rows = self._number(group, told.events, EVENTS)
        happened = self._classify(event_rows, EVENTS, together)
        if isinstance(happened, Unsure):
            return self._unjudged("events", happened, group.members_of("events", happened.at, measured))
        claimed = _Claimed(
            parts={"measurements": group.parts["measurements"], "events": told.events},
            rows={"measurements": rows, "events": event_rows},
            outcomes={"measurements": measured, "events": happened},
            conflicts=conflicts,
        )
        try:
            return self._write(group, claimed)
        except BaseException:
            happened.undo()
            raise

    def _number(self, group: Group, part: Part, spec: TableSpec) -> Rows:
        own = group.quota.series
        limit = self._series_limit if own is None else min(own, self._series_limit)
        return numbered_rows(self.indexes[spec.name], group.project, part.columns, series_limit=limit)

    def _classify(self, rows: Rows, spec: TableSpec, together: Sequence[Waiting]) -> Classified | Unsure:
        verdicts = [one.verdicts[spec.name] for one in together if spec.name in one.verdicts]
        hot = [segment.hot[spec.name] for segment in [*self.sealed, self.active]]
        answers = joined(spec, self.generation, verdicts)
        if len(together) > 1 or spec is not MEASUREMENTS:  # positions of one delivery; events of conflicts come and go
            answers = replace(answers, at=None)
        return classify(rows, self.indexes[spec.name], hot, self.recent[spec.name], answers)

    def _unjudged(self, table: str, unsure: Unsure, members: Positions) -> _Unjudged:
        return _Unjudged(
            generation=self.generation,
            files=self.files,
            table=table,
            rows=unsure.rows,
            at=unsure.at,
            members=members,
        )

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

    def _write(self, group: Group, claimed: _Claimed) -> _Written:
        """Append the accepted rows as one record and claim their keys."""
        accepted = {name: _accepted(claimed.parts[name], outcome) for name, outcome in claimed.outcomes.items()}
        is_new = any(accepted.values())
        received_at_us = max(now_us(), self.last_received_us + 1) if is_new else self.last_received_us
        new_rows = group.count_new(claimed.outcomes)
        self.rows_of_day.refuse_over(group.project, new_rows, group.quota.rows_per_day, received_at_us)
        receipts = group.receipts(claimed.outcomes, claimed.conflicts, from_epoch_us(max(received_at_us, 0)))
        answers = tuple(
            delivery.answer(appended)
            for delivery, appended in zip(group.deliveries, receipts, strict=True)
            if delivery.answer is not None
        )
        if not is_new and not answers:
            # Duplicates of a row that is still pending are acknowledged with it.
            return _Written(position=self.log.written, receipts=receipts, outcomes=claimed.outcomes)
        record = LogRecord(
            received_at_us=received_at_us,
            project=group.project,
            measurements=accepted["measurements"],
            events=accepted["events"],
            answers=answers,
        )
        stamped = {name: _stamped(claimed.rows[name], claimed.outcomes[name], received_at_us) for name in accepted}

        def hold(position: int) -> None:
            self.take_rows(self.active, stamped, received_at_us)
            self.active.answers.extend(answers)
            self.on_answers(answers)
            counts = {name: hot.count for name, hot in self.active.hot.items()}
            self._pending.append(
                _Pending(position=position, segment=self.active, counts=counts, received_at_us=received_at_us)
            )

        position = self.log.append(record, hold)
        self.rows_of_day.add(group.project, new_rows, received_at_us)
        self.last_received_us = received_at_us
        self.last_append_s = time.monotonic()
        return _Written(position=position, receipts=receipts, outcomes=claimed.outcomes)

    def take_rows(self, segment: Segment, rows: dict[str, Rows], received_at_us: int) -> None:
        """Hold rows of a log record as hot rows of its segment."""
        if segment.is_empty:
            segment.opened_at_s = time.monotonic()
        if segment.rows == 0:
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

    def seal(self) -> None:
        """Close the active segment, if it holds anything, and open the next."""
        with self.lock:
            if self.active.is_empty:
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


def _accepted(part: Part, outcome: Classified) -> bytes:
    """Return the accepted rows of a part as they go into the log, empty for none."""
    if outcome.is_accepted.all():
        return part.ipc
    return to_ipc(part.batch.filter(pa.array(outcome.is_accepted)))


def _stamped(rows: Rows, outcome: Classified, received_at_us: int) -> Rows:
    kept = rows if outcome.is_accepted.all() else rows.take(outcome.is_accepted)
    stamps: Int64s = np.full(len(kept), received_at_us, np.int64)
    return Rows(series=kept.series, t=kept.t, extra=kept.extra, received_at=stamps, payload=kept.payload)


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
