"""The result of a report: one row per component, metric, KPI and bucket, kept as one Parquet file per revision."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gaugehouse.config import Layout
from gaugehouse.errors import Refused, StorageFull, Unavailable
from gaugehouse.kpi import rank
from gaugehouse.measurements.schema import TIMESTAMP

# kpi_values of the lake without what only identifies the report.
RESULT = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("metric", pa.string()),  # null: the component never sent anything, so its metrics are not known
        pa.field("kpi", pa.string(), nullable=False),
        pa.field("bucket_start", TIMESTAMP, nullable=False),
        pa.field("bucket_end", TIMESTAMP, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("coverage", pa.float64()),  # share of the bucket that data cover [1]
        pa.field("n", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
# Of components together: a formula over all of a group. A KPI about components has no metric.
GROUPED = pa.schema(
    [
        pa.field("group", pa.string(), nullable=False),
        pa.field("metric", pa.string()),
        pa.field("kpi", pa.string(), nullable=False),
        pa.field("bucket_start", TIMESTAMP, nullable=False),
        pa.field("bucket_end", TIMESTAMP, nullable=False),
        pa.field("components", pa.int64(), nullable=False),  # how many of the group have the KPI
        pa.field("value", pa.float64()),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("coverage", pa.float64()),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
# One row beside each row of RESULT.
COMPARED = pa.schema(
    [
        pa.field("component", pa.string(), nullable=False),
        pa.field("metric", pa.string()),
        pa.field("kpi", pa.string(), nullable=False),
        pa.field("bucket_start", TIMESTAMP, nullable=False),
        pa.field("bucket_end", TIMESTAMP, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("previous", pa.float64()),
        pa.field("difference", pa.float64()),  # value - previous
        pa.field("percent", pa.float64()),  # 100 x difference / |previous| [%]
        pa.field("reason", pa.string()),  # why one of these is missing
    ]
)
VALUES, COMPARISON, GROUPS = "values", "comparison", "groups"
SCHEMAS = {VALUES: RESULT, COMPARISON: COMPARED, GROUPS: GROUPED}
DIGEST_KEY = b"gaugehouse.digest"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """All tables that a report answers with.

    Args:
        values: Columns of RESULT.
        comparison: Columns of COMPARED, in the order of `values`; None: nobody asked.
        groups: Columns of GROUPED; None: nobody asked.
    """

    values: pa.Table
    comparison: pa.Table | None = None
    groups: pa.Table | None = None

    @property
    def tables(self) -> dict[str, pa.Table]:
        """The tables there are, by name; the values last."""
        named = {COMPARISON: self.comparison, GROUPS: self.groups, VALUES: self.values}
        return {name: table for name, table in named.items() if table is not None}


def result_path(layout: Layout, report_id: str, revision: int, table: str = VALUES) -> Path:
    """Return where a table of a revision's result is kept."""
    name = f"r{revision}.parquet" if table == VALUES else f"r{revision}.{table}.parquet"
    return layout.reports_dir / report_id / name


def load_answer(layout: Layout, report_id: str, revision: int, names: Collection[str]) -> Answer:
    """Return the tables of a revision's result.

    Args:
        layout: Where they are kept.
        report_id: Of the report.
        revision: Of it.
        names: Those that it has beside its values.

    Raises:
        Unavailable: A file is gone or damaged.
    """
    tables = {name: load_result(result_path(layout, report_id, revision, name), SCHEMAS[name]) for name in names}
    return Answer(values=load_result(result_path(layout, report_id, revision)), **tables)


def write_result(result: pa.Table, path: Path, *, digest: str, attempt: int) -> Path:
    """Write a result beside its place and return the durable file; `publish_result` puts it there.

    Args:
        result: One table of it.
        path: Its place.
        digest: Of the result, kept in the file's metadata.
        attempt: Of the job; what earlier attempts left unfinished is removed, not what a later one is writing.

    Raises:
        StorageFull: The disk refused.
    """
    unfinished = _unfinished(path, attempt)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for earlier in range(attempt):
            _unfinished(path, earlier).unlink(missing_ok=True)
        with unfinished.open("wb") as file:
            pq.write_table(
                result.replace_schema_metadata({DIGEST_KEY: digest}), file, compression="zstd", write_page_checksum=True
            )
            file.flush()
            os.fsync(file.fileno())
        _fsync_folder(path.parent.parent)
    except OSError as exc:
        unfinished.unlink(missing_ok=True)  # what fits of it would take the room that others need
        raise StorageFull("the result of the report could not be written to the disk") from exc
    return unfinished


def _unfinished(path: Path, attempt: int) -> Path:
    return path.with_name(f"{path.name}.{attempt}.tmp")


def publish_result(unfinished: Path, path: Path) -> None:
    """Put a written result in its place, durably; the same content may be there already."""
    try:
        unfinished.replace(path)
        _fsync_folder(path.parent)
    except OSError as exc:
        raise StorageFull("the result of the report could not be written to the disk") from exc


def load_result(path: Path, schema: pa.Schema = RESULT) -> pa.Table:
    """Return a result, checked page by page against its checksums.

    Raises:
        Unavailable: The file is gone or damaged.
    """
    try:
        return pq.read_table(path, page_checksum_verification=True).replace_schema_metadata(None).cast(schema)
    except (OSError, pa.ArrowException) as exc:
        raise Unavailable("the result of the report cannot be read; ask for the report again") from exc


def load_coded(path: Path, names: Sequence[str]) -> pa.Table:
    """Return columns of RESULT, text as dictionaries: a result of millions of rows then takes 50 bytes a row.

    Raises:
        Unavailable: The file is gone or damaged.
    """
    texts = [name for name in names if pa.types.is_string(RESULT.field(name).type)]
    try:
        table = pq.read_table(path, columns=list(names), read_dictionary=texts, page_checksum_verification=True)
        return table.replace_schema_metadata(None).unify_dictionaries().combine_chunks()
    except (OSError, pa.ArrowException) as exc:
        raise Unavailable("the result of the report cannot be read; ask for the report again") from exc


def rank_result(table: pa.Table, *, top: int | None, bottom: int | None) -> pa.Table:
    """Return so many of the highest or lowest values of each KPI and bucket, with a first column `rank`.

    Args:
        table: Of a result.
        top: How many of the highest; None and no `bottom`: the table as it is.
        bottom: How many of the lowest.

    Raises:
        Refused: Both are asked for.
    """
    if top is not None and bottom is not None:
        raise Refused("ask for the highest or for the lowest values, not for both", code="rank_refused")
    count = top if bottom is None else bottom
    if count is None:
        return table
    names = [name for name in ("group", "component", "metric") if name in table.column_names]
    return rank(table, names=names, count=count, lowest=bottom is not None, bucket="bucket_start")


def _fsync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
