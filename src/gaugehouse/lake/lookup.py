"""Late keys against the files: one semi-join for all requests that wait at the same time."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from gaugehouse.errors import Unavailable
from gaugehouse.lake.delta import DeltaStore, FileEntry
from gaugehouse.lake.engine import Engine
from gaugehouse.lake.filekeys import FileKeys, keys_of
from gaugehouse.lake.known import SeriesIndex, rows_of_batch
from gaugehouse.lake.proofs import Proofs
from gaugehouse.lake.quarantine import refuse_quarantined
from gaugehouse.lake.rows import Rows, TableSpec, concat_rows, empty_rows, timestamp_array
from gaugehouse.lake.snapshot import read_stored


@dataclass(slots=True, kw_only=True)
class _Question:
    """Keys of one request and, once asked, the stored rows among them."""

    spec: TableSpec
    rows: Rows
    files: Sequence[FileEntry]
    answer: Rows | None = None
    error: BaseException | None = None


@dataclass(slots=True, kw_only=True)
class FileLookup:
    """Asks files about keys. The first waiting thread asks for all that have queued up meanwhile."""

    engine: Engine
    stores: Mapping[str, DeltaStore]
    indexes: Mapping[str, SeriesIndex]
    number_lock: threading.Lock
    file_keys: Mapping[str, FileKeys]
    proofs: Proofs
    quarantined: Callable[[], frozenset[str]] = frozenset
    _asking: threading.Lock = field(default_factory=threading.Lock)
    _waiting: list[_Question] = field(default_factory=list)
    _waiting_lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, spec: TableSpec, rows: Rows, files: Sequence[FileEntry]) -> Rows:
        """Return the stored rows that have one of the keys, as they stand in `files`.

        Raises:
            Unavailable: a file that may hold one of them cannot be read.
        """
        question = _Question(spec=spec, rows=rows, files=files)
        with self._waiting_lock:
            self._waiting.append(question)
        with self._asking:
            if question.answer is None and question.error is None:
                self._answer_all()
        if question.error is not None:
            raise question.error
        assert question.answer is not None  # noqa: S101 - answered or failed above
        return question.answer

    def _answer_all(self) -> None:
        with self._waiting_lock:
            questions, self._waiting = self._waiting, []
        groups: dict[tuple[str, int], list[_Question]] = {}
        for question in questions:
            groups.setdefault((question.spec.name, id(question.files)), []).append(question)
        for group in groups.values():
            try:
                stored = self._ask(group[0].spec, [question.rows for question in group], group[0].files)
            except BaseException as exc:  # noqa: BLE001 - handed to each waiting thread, which raises it
                for question in group:
                    question.error = exc
                continue
            for question in group:
                question.answer = stored

    def _ask(self, spec: TableSpec, parts: list[Rows], files: Sequence[FileEntry]) -> Rows:
        rows = concat_rows([_unstamped(part) for part in parts], spec)
        index = self.indexes[spec.name]
        projects, codes = index.projects_of(rows.series)
        found: list[Rows] = []
        for code, project in enumerate(projects):
            mine = rows.take(codes == code)
            wanted = _wanted(index, mine)
            bounds_us = int(mine.t.min()), int(mine.t.max())
            entries = [entry for entry in files if entry.project == project and _overlaps(entry, bounds_us)]
            try:
                self.proofs.refuse_changed(spec.name, entries)
                stored = self._read(spec, entries, wanted)
            except Unavailable:
                refuse_quarantined(self.quarantined(), spec.name, entries)  # which names it
                raise
            if stored is not None:
                with self.number_lock:
                    found.append(rows_of_batch(index, project, stored))
        return concat_rows(found, spec) if found else empty_rows(spec)

    def _read(self, spec: TableSpec, entries: list[FileEntry], wanted: pa.Table) -> pa.Table | None:
        paths, wanted = self._narrowed(spec, entries, wanted)
        if not paths:
            return None
        plain = wanted.cast(pa.schema([(f.name, _plain(f.type)) for f in wanted.schema]))
        distinct = plain.group_by(plain.column_names).aggregate([])
        return read_stored(self.engine, spec, paths, distinct)

    def _narrowed(self, spec: TableSpec, entries: list[FileEntry], wanted: pa.Table) -> tuple[list[str], pa.Table]:
        """Return which files must be read for which keys: late rows are hardly ever in any."""
        if not entries:
            return [], wanted
        root, keys = self.stores[spec.name].root, keys_of(wanted, spec)
        instants = keys.instants_us
        is_hit = np.zeros(len(wanted), np.bool_)
        paths = []
        for entry in entries:
            asked = np.flatnonzero((instants >= entry.instants_us[0]) & (instants <= entry.instants_us[1]))
            if not asked.size:
                continue
            is_here = self.file_keys[spec.name].may_hold(root / entry.path, keys, asked)
            is_hit[asked[is_here]] = True
            if is_here.any():
                paths.append(str(root / entry.path))
        return paths, wanted.filter(pa.array(is_hit))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _unstamped(rows: Rows) -> Rows:
    return Rows(series=rows.series, t=rows.t, extra=rows.extra, received_at=np.empty(0, np.int64), payload=rows.payload)


def _overlaps(entry: FileEntry, bounds_us: tuple[int, int]) -> bool:
    return entry.instants_us[0] <= bounds_us[1] and entry.instants_us[1] >= bounds_us[0]


def _wanted(index: SeriesIndex, rows: Rows) -> pa.Table:
    """Return the keys of rows under their names."""
    spec = index.spec
    components, topics = index.name_columns(rows.series)
    columns = {
        "component": components,
        spec.topic: topics,
        spec.instant: timestamp_array(rows.t),
    }
    if spec.has_extra:
        columns["body_hash"] = pa.array(rows.payload["body_hash"], pa.binary())
    return pa.table(columns)
