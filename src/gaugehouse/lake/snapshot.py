"""One consistent moment of the lake: a Delta version's files plus the hot rows acknowledged then.

A question pins a snapshot once and reads it as often as it likes; what arrives meanwhile does not change the answer.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from gaugehouse.config import QUERY_MEMORY_BYTES, Layout
from gaugehouse.errors import Unavailable
from gaugehouse.lake.delta import FileEntry, list_files
from gaugehouse.lake.engine import Engine, explain_failure
from gaugehouse.lake.known import SeriesIndex
from gaugehouse.lake.manifest import manifest_path, read_manifest
from gaugehouse.lake.proofs import Proofs
from gaugehouse.lake.quarantine import read_quarantined_paths, refuse_quarantined
from gaugehouse.lake.rows import EVENTS, MEASUREMENTS, TABLES, Rows, TableSpec, concat_rows
from gaugehouse.lake.scan import (
    RowPart,
    SeriesKey,
    count_part,
    estimate_file_rows,
    group_rows,
    read_file_rows,
    rows_part,
)
from gaugehouse.measurements.selection import Selection, from_epoch_us, to_epoch_us
from gaugehouse.measurements.series import SeriesRows

TableName = Literal["measurements", "events"]
T = TypeVar("T")

COLUMNS = {
    "measurements": "component, metric, measured_at, value, CAST(quality AS UTINYINT) AS quality, received_at",
    "events": "component, kind, occurred_at, body, body_hash, received_at",
}
STORED = {
    table: f"SELECT {columns} FROM read_parquet($lake_files, hive_partitioning = false)"  # noqa: S608 - constants
    for table, columns in COLUMNS.items()
}
HOT = {table: f"SELECT {columns} FROM hot_rows" for table, columns in COLUMNS.items()}  # noqa: S608 - constants
ONE_OF = "{column} IN (SELECT unnest($lake_{name}::VARCHAR[]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class HotView:
    """Rows of one table that were visible and not yet in its files."""

    rows: tuple[Rows, ...]
    index: SeriesIndex

    def select(self, selection: Selection) -> Rows:
        """Return the hot rows of a selection."""
        spec = self.index.spec
        series = self.index.series_of(selection.project, selection.components, selection.metrics)
        wanted = np.zeros(len(self.index), np.bool_)  # made last: the index only grows
        wanted[series] = True
        return concat_rows([rows.take(_hot_mask(rows, wanted, selection)) for rows in self.rows], spec)


def _hot_mask(rows: Rows, wanted: np.ndarray, selection: Selection) -> np.ndarray:
    # A series numbered after `wanted` was made has no row in this snapshot.
    mask = wanted[rows.series]
    if selection.start is not None:
        mask &= rows.t >= to_epoch_us(selection.start)
    if selection.end is not None:
        mask &= rows.t < to_epoch_us(selection.end)
    if selection.as_of is not None:
        mask &= rows.received_at <= to_epoch_us(selection.as_of)
    if selection.received_after is not None:
        mask &= rows.received_at > to_epoch_us(selection.received_after)
    return mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A pinned moment. Files that are superseded later stay on disk longer than any question runs."""

    engine: Engine
    lake_dir: Path
    files: Mapping[str, tuple[FileEntry, ...]]
    hot: Mapping[str, HotView]
    received_through_us: int
    proofs: Proofs
    as_of: datetime | None = None  # rows received later are not shown, though the files hold them
    quarantined: frozenset[str] = frozenset()  # 'table/path' of damaged files: what needs one is refused

    @property
    def received_through(self) -> datetime | None:
        """The newest received_at that this snapshot shows."""
        return from_epoch_us(self.received_through_us) if self.received_through_us >= 0 else None

    def read(
        self,
        selection: Selection,
        statement: str,
        parameters: Mapping[str, object] | None = None,
        *,
        table: TableName = "measurements",
        batch_rows: int = 65_536,
    ) -> pa.RecordBatchReader:
        """Run one SELECT over the relation `rows`, which holds the rows of the selection, and stream its result.

        Args:
            selection: Which rows; bounds are applied here, also to the file list.
            statement: One DuckDB SELECT over `rows` with the columns of MEASUREMENT_ROWS or EVENT_ROWS.
            parameters: Values of `$name` in the statement; names starting with `lake_` are ours.
            table: Which table `rows` shows.
            batch_rows: Rows per batch of the answer.

        Raises:
            Unavailable: a file cannot be read.
        """
        spec = TABLES[table]
        selection = self._bounded(selection)
        paths = [str(self.lake_dir / table / entry.path) for entry in self.prune(selection, table)]
        cursor = self.engine.cursor()
        sources = [STORED[table]] if paths else []
        hot_rows = self._hot_table(selection, spec)
        if hot_rows.num_rows or not paths:
            cursor.register("hot_rows", hot_rows)
            sources.append(HOT[table])
        conditions, bound = _conditions(selection, spec)
        if paths:
            bound["lake_files"] = paths
        source = " UNION ALL ".join(sources)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"WITH rows AS (SELECT * FROM ({source}){where}) {statement}"  # noqa: S608 - constant fragments
        try:
            reader = cursor.sql(sql, params={**(parameters or {}), **bound}).to_arrow_reader(batch_rows)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as exc:
            raise explain_failure(exc, "a file of the lake cannot be read; the answer would be incomplete") from exc
        return _keep_alive(reader, cursor)

    def _bounded(self, selection: Selection) -> Selection:
        if self.as_of is None or (selection.as_of is not None and selection.as_of <= self.as_of):
            return selection
        return replace(selection, as_of=self.as_of)

    def _hot_table(self, selection: Selection, spec: TableSpec) -> pa.Table:
        view = self.hot.get(spec.name)
        if view is None:
            return spec.rows.empty_table()
        return view.index.to_arrow(view.select(selection))

    def prune(self, selection: Selection, table: TableName = "measurements") -> list[FileEntry]:
        """Return the files that can hold rows of a selection.

        Raises:
            Unavailable: one of them is damaged: in quarantine, or found to be so now.
        """
        entries = [entry for entry in self.files[table] if may_hold(entry, selection)]
        refuse_quarantined(self.quarantined, table, entries)
        self.proofs.refuse_changed(table, entries)
        return entries

    def load_series(self, selection: Selection, *, threads: int = 1) -> SeriesRows:
        """Return the measurements of a selection as sorted series, the shape that facts are computed on.

        Args:
            selection: Which rows.
            threads: Files are read by this many threads.

        Raises:
            Unavailable: a file cannot be read.
        """
        selection = self._bounded(selection)
        entries = sorted(self.prune(selection), key=lambda entry: entry.instants_us)
        parts = self._read_files(lambda path, entry: read_file_rows(path, entry, selection), entries, threads)
        hot = self._hot_part(selection)
        return group_rows(parts if hot is None else [*parts, hot], threads=threads)

    def estimate_series(
        self, selection: Selection, wanted: Collection[SeriesKey], *, threads: int = 1
    ) -> dict[SeriesKey, int]:
        """Return about how many rows have to be read for each series of a selection: row groups are read whole.

        Series that surely have none are missing.

        Args:
            selection: Which rows.
            wanted: (component, metric) of each series of the selection.
            threads: Files are read by this many threads.

        Raises:
            Unavailable: a file cannot be read.
        """
        selection = self._bounded(selection)
        keys = sorted(wanted)
        counts = Counter[SeriesKey]()
        for own in self._read_files(
            lambda path, _: estimate_file_rows(path, selection, keys), self.prune(selection), threads
        ):
            counts.update(own)
        hot = self._hot_part(selection)
        if hot is not None:
            counts.update(count_part(hot))
        return dict(counts)

    def _read_files(self, read: Callable[[Path, FileEntry], T], entries: Sequence[FileEntry], threads: int) -> list[T]:
        """Read files side by side, and return what was read in their order."""

        def read_next(entry: FileEntry) -> T:
            self.engine.check()  # file by file: who is to stop does not read them all first
            return read(self.lake_dir / "measurements" / entry.path, entry)

        with ThreadPoolExecutor(max_workers=threads) as pool:
            return list(pool.map(read_next, entries))

    def _hot_part(self, selection: Selection) -> RowPart | None:
        view = self.hot.get("measurements")
        if view is None:
            return None
        rows = view.select(selection)
        components, metrics = view.index.name_columns(rows.series)
        return rows_part(components, metrics, rows)


def _keep_alive(reader: pa.RecordBatchReader, cursor: duckdb.DuckDBPyConnection) -> pa.RecordBatchReader:
    """Return the reader bound to its cursor, which must live until the last batch."""

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except duckdb.Error as exc:
            raise explain_failure(exc, "a file of the lake cannot be read; the answer is incomplete") from exc
        finally:
            cursor.close()

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


NEWEST = {
    "measurements": """
        SELECT component, metric, measured_at, newest.value AS value,
               CAST(newest.quality AS UTINYINT) AS quality, newest.received_at AS received_at
        FROM (
            SELECT component, metric, max(measured_at) AS measured_at,
                   arg_max({'value': value, 'quality': quality, 'received_at': received_at}, measured_at) AS newest
            FROM read_parquet($lake_files, hive_partitioning = false)
            WHERE received_at > $lake_after
            GROUP BY component, metric
        )""",
    "events": """
        SELECT component, kind, max(occurred_at) AS occurred_at, max(received_at) AS received_at
        FROM read_parquet($lake_files, hive_partitioning = false)
        WHERE received_at > $lake_after
        GROUP BY component, kind""",
}

KEYS_AFTER = {
    "measurements": """
        SELECT component, metric, measured_at FROM read_parquet($lake_files, hive_partitioning = false)
        WHERE measured_at > $lake_after LIMIT $lake_limit""",
    "events": """
        SELECT component, kind, occurred_at, body_hash FROM read_parquet($lake_files, hive_partitioning = false)
        WHERE occurred_at > $lake_after LIMIT $lake_limit""",
}

STORED_UNDER_KEYS = {
    "measurements": """
        SELECT stored.component, stored.metric, stored.measured_at, stored.value,
               CAST(stored.quality AS UTINYINT) AS quality
        FROM read_parquet($lake_files, hive_partitioning = false) AS stored
        JOIN wanted USING (component, metric, measured_at)
        WHERE stored.measured_at BETWEEN $lake_start AND $lake_end""",
    "events": """
        SELECT stored.component, stored.kind, stored.occurred_at, stored.body, stored.body_hash
        FROM read_parquet($lake_files, hive_partitioning = false) AS stored
        JOIN wanted USING (component, kind, occurred_at, body_hash)
        WHERE stored.occurred_at BETWEEN $lake_start AND $lake_end""",
}


def read_newest(engine: Engine, spec: TableSpec, paths: list[str], received_after: datetime) -> pa.Table:
    """Return the newest row of each series in files, among those received after an instant."""
    return _run(engine.cursor(), NEWEST[spec.name], {"lake_files": paths, "lake_after": received_after})


def read_keys_after(engine: Engine, spec: TableSpec, paths: list[str], after: datetime, *, limit: int) -> pa.Table:
    """Return the keys in files that are later than an instant, `limit` of them at most."""
    parameters = {"lake_files": paths, "lake_after": after, "lake_limit": limit}
    return _run(engine.cursor(), KEYS_AFTER[spec.name], parameters)


def read_stored(engine: Engine, spec: TableSpec, paths: list[str], wanted: pa.Table) -> pa.Table:
    """Return the rows of files whose keys are wanted: the columns of a batch of the table."""
    cursor = engine.cursor()
    cursor.register("wanted", wanted)
    bounds = pc.min_max(wanted.column(spec.instant)).as_py()
    parameters = {"lake_files": paths, "lake_start": bounds["min"], "lake_end": bounds["max"]}
    return _run(cursor, STORED_UNDER_KEYS[spec.name], parameters)


def _run(cursor: duckdb.DuckDBPyConnection, statement: str, parameters: Mapping[str, object]) -> pa.Table:
    try:
        return cursor.sql(statement, params=dict(parameters)).to_arrow_table()
    except duckdb.Error as exc:
        raise explain_failure(exc, "a file of the lake cannot be read") from exc
    finally:
        cursor.close()


def _conditions(selection: Selection, spec: TableSpec) -> tuple[list[str], dict[str, object]]:
    """Return the WHERE fragments of a selection, all of them constants, and the values they bind."""
    conditions: list[str] = []
    bound: dict[str, object] = {}
    names = (("component", "components", selection.components), (spec.topic, "topics", selection.metrics))
    for column, name, values in names:
        if values is None:
            continue
        if len(values) == 1:
            conditions.append(f"{column} = $lake_{name}")
            bound[f"lake_{name}"] = values[0]
        else:
            conditions.append(ONE_OF.format(column=column, name=name))
            bound[f"lake_{name}"] = list(values)
    bounds = (
        (f"{spec.instant} >= $lake_start", "lake_start", selection.start),
        (f"{spec.instant} < $lake_end", "lake_end", selection.end),
        ("received_at <= $lake_as_of", "lake_as_of", selection.as_of),
        ("received_at > $lake_received_after", "lake_received_after", selection.received_after),
    )
    for condition, name, value in bounds:
        if value is not None:
            conditions.append(condition)
            bound[name] = value
    return conditions, bound


def may_hold(entry: FileEntry, selection: Selection) -> bool:
    if entry.project != selection.project:
        return False
    bounds = (
        (entry.instants_us[1] + 1, selection.start, entry.instants_us[0], selection.end),
        (entry.received_us[1], selection.received_after, entry.received_us[0] - 1, selection.as_of),
    )
    for last_us, after, first_us, before in bounds:
        if after is not None and last_us <= to_epoch_us(after):
            return False
        if before is not None and first_us >= to_epoch_us(before):
            return False
    if selection.components is None:
        return True
    low, high = entry.components
    return any(low <= name <= high for name in selection.components)


def open_snapshot(lake_dir: Path, *, as_of: datetime | None = None, memory_bytes: int = QUERY_MEMORY_BYTES) -> Snapshot:
    """Return the committed state of a lake that another process owns.

    Args:
        lake_dir: Folder of the tables.
        as_of: Rows that were received later are not shown.
        memory_bytes: What its questions may take together.

    Raises:
        Unavailable: there is no readable lake.
    """
    layout = Layout(lake_dir.parent)
    files: dict[str, tuple[FileEntry, ...]] = {}
    for spec in (MEASUREMENTS, EVENTS):
        try:
            entries = list_files(DeltaTable(lake_dir / spec.name), spec)
        except (DeltaError, OSError) as exc:
            raise Unavailable("the lake cannot be read") from exc
        limit_us = None if as_of is None else to_epoch_us(as_of)
        files[spec.name] = tuple(e for e in entries if limit_us is None or e.received_us[0] <= limit_us)
    newest = max((entry.received_us[1] for entries in files.values() for entry in entries), default=-1)
    through = newest if as_of is None else to_epoch_us(as_of)
    return Snapshot(
        engine=Engine(layout.run_dir, memory_bytes=memory_bytes),
        lake_dir=lake_dir,
        files=files,
        hot={},
        received_through_us=through,
        proofs=Proofs(lake_dir, read_manifest(manifest_path(layout)).files),
        as_of=as_of,
        quarantined=read_quarantined_paths(layout.log_dir),
    )
