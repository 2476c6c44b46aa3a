"""The rows of many sorted files as one sorted stream, a bounded number of them in memory, however long the files are.

Each file is read a little ahead. The least of the last rows at hand is the border: no file holds a row before it that
has not been read, so all rows before it, of whatever file, are the next part.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gaugehouse.errors import DamageFound
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.keyhash import Int32s, Int64s
from gaugehouse.lake.rows import (
    TableSpec,
    as_array,
    distinct_codes,
    instants_us,
    joined,
    order_by_series,
    with_names_in_use,
)

ROWS_AHEAD = 524_288  # of all files together: 16 MB, and some times that while a part is sorted
BATCH_ROWS = (4_096, 65_536)  # of one file: fewer cost more in calls than in rows, more gain nothing

Position = tuple[str, str, int]  # component, topic, instant [us]
OnDamage = Callable[[FileEntry, str], DamageFound]


class SortedFile:
    """A data file of which some rows are at hand.

    Args:
        entry: What the Delta log says about it.
        content: Its bytes. They must be what was written: a damaged footer can end a process.
        spec: Of the table.
        damage: Makes the error to raise when it cannot be read.
    """

    def __init__(self, entry: FileEntry, content: bytes, spec: TableSpec, damage: OnDamage) -> None:
        self.entry = entry
        self.spec = spec
        self.damage = damage
        self.rows = 0  # at hand
        self.last: Position = ("", "", 0)  # of these
        self.is_read = False  # to its end
        self._content = content
        self._ahead: deque[pa.RecordBatch] = deque()
        self._batches: Iterator[pa.RecordBatch] = iter(())

    def open(self, batch_rows: int) -> None:
        """Begin to read, so many rows at a time."""
        names = ["component", self.spec.topic]
        source = pa.BufferReader(self._content)
        try:
            file = pq.ParquetFile(source, read_dictionary=names, page_checksum_verification=True)
            self._batches = file.iter_batches(batch_size=batch_rows, columns=self.spec.rows.names)
        except (OSError, pa.ArrowException) as exc:
            raise self.damage(self.entry, "a file cannot be read") from exc

    def read_more(self) -> None:
        """Take one more batch, unless that was all."""
        try:
            batch = next(self._batches, None)
        except (OSError, pa.ArrowException) as exc:
            raise self.damage(self.entry, "a file cannot be read") from exc
        if batch is None:
            self.is_read = True
        elif batch.num_rows:
            self._ahead.append(batch)
            self.rows += batch.num_rows
            self.last = _position(batch, batch.num_rows - 1, self.spec)

    def take_before(self, border: Position | None) -> list[pa.RecordBatch]:
        """Hand out the rows before a border, or all without one."""
        taken: list[pa.RecordBatch] = []
        while self._ahead:
            batch = self._ahead[0]
            count = batch.num_rows if border is None else _count_before(batch, border, self.spec)
            if count:
                taken.append(batch.slice(0, count))
                self.rows -= count
            if count < batch.num_rows:
                self._ahead[0] = batch.slice(count)
                break
            self._ahead.popleft()
        return taken


def merged_parts(files: Sequence[SortedFile], row_group_rows: int) -> Iterator[pa.Table]:
    """Yield all rows of files of one table by (component, topic, instant), names as dictionaries.

    Each part but the last is some whole row groups. Its dictionaries hold names of its own rows and of some to follow.

    Raises:
        DamageFound: a file cannot be read or is not sorted, or a key is there twice.
    """
    waiting: list[pa.Table] = []
    rows = 0
    for part in _sorted_parts(files):
        waiting.append(part)
        rows += part.num_rows
        if rows >= row_group_rows:
            all_rows = joined(waiting)
            whole = rows - rows % row_group_rows
            yield all_rows.slice(0, whole)
            waiting, rows = [with_names_in_use(all_rows.slice(whole))], rows - whole
    if rows:
        yield joined(waiting)


def _sorted_parts(files: Sequence[SortedFile]) -> Iterator[pa.Table]:
    batch_rows = min(max(ROWS_AHEAD // (2 * len(files)), BATCH_ROWS[0]), BATCH_ROWS[1])
    for file in files:
        file.open(batch_rows)
    passed: Position | None = None
    wanted = batch_rows
    while any(file.rows or not file.is_read for file in files):
        for file in files:
            while file.rows < wanted and not file.is_read:
                file.read_more()
        border = min((file.last for file in files if not file.is_read), default=None)
        taken = [batch for file in files for batch in file.take_before(border)]
        if not taken:  # all rows at hand are of one key, and there may be more
            wanted += batch_rows
            continue
        wanted = batch_rows
        part = _sorted(taken, files[0])
        if passed is not None and _position(part, 0, files[0].spec) < passed:
            raise files[0].damage(files[0].entry, "a file is not sorted")
        passed = border
        yield part


def _position(rows: pa.RecordBatch | pa.Table, at: int, spec: TableSpec) -> Position:
    row = rows.slice(at, 1)
    names = (row.column(name)[0].as_py() for name in ("component", spec.topic))
    return (*names, int(instants_us(row.column(spec.instant))[0]))


def _count_before(batch: pa.RecordBatch, border: Position, spec: TableSpec) -> int:
    """Return how many rows of a sorted batch come before a border."""
    low, high = 0, batch.num_rows
    for name, bound in (("component", border[0]), (spec.topic, border[1])):
        column = batch.column(name).slice(low, high - low)
        codes = column.indices.to_numpy()
        before = pc.less(column.dictionary, bound).to_numpy(zero_copy_only=False)
        same = pc.equal(column.dictionary, bound).to_numpy(zero_copy_only=False)
        low += int(np.count_nonzero(before[codes]))
        high = low + int(np.count_nonzero(same[codes]))
    return low + int(np.searchsorted(instants_us(batch.column(spec.instant))[low:high], border[2]))


def _sorted(batches: Sequence[pa.RecordBatch], file: SortedFile) -> pa.Table:
    """Return the rows of sorted batches in file order."""
    spec = file.spec
    names = ("component", spec.topic)
    rows = joined([with_names_in_use(pa.Table.from_batches([batch])) for batch in batches])
    ranked = components, topics = [_ranked(as_array(rows.column(name))) for name in names]
    topic_count = len(topics.dictionary)
    codes = components.indices.to_numpy().astype(np.int64) * topic_count + topics.indices.to_numpy()
    used, series = distinct_codes(codes, len(components.dictionary) * topic_count)
    t = instants_us(rows.column(spec.instant))
    _offsets, order = order_by_series(series, used.size, t)
    if not spec.has_extra and _repeats(series[order], t[order]):
        raise file.damage(file.entry, "a key is stored twice")
    for position, column in enumerate(ranked):
        rows = rows.set_column(position, names[position], column)
    return rows.take(pa.array(order))


def _repeats(series: Int32s, t: Int64s) -> bool:
    return bool(np.any((series[1:] == series[:-1]) & (t[1:] == t[:-1])))


def _ranked(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Return the column with its dictionary sorted; UTF-8 sorts like the characters it stands for."""
    order = pc.array_sort_indices(column.dictionary)
    rank = np.empty(len(order), np.int32)
    rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(rank[column.indices.to_numpy()]), column.dictionary.take(order))
