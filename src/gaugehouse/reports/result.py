"""The result of a report: one row per component, metric, KPI and bucket, kept as one Parquet file per revision."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gaugehouse.config import Layout
from gaugehouse.errors import StorageFull, Unavailable
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
DIGEST_KEY = b"gaugehouse.digest"


def result_path(layout: Layout, report_id: str, revision: int) -> Path:
    """Return where the result of a revision is kept."""
    return layout.reports_dir / report_id / f"r{revision}.parquet"


def write_result(result: pa.Table, path: Path, *, digest: str, attempt: int) -> Path:
    """Write a result beside its place and return the durable file; `publish_result` puts it there.

    Args:
        result: Columns of RESULT.
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


def load_result(path: Path) -> pa.Table:
    """Return a result, checked page by page against its checksums.

    Raises:
        Unavailable: The file is gone or damaged.
    """
    try:
        return pq.read_table(path, page_checksum_verification=True).replace_schema_metadata(None).cast(RESULT)
    except (OSError, pa.ArrowException) as exc:
        raise Unavailable("the result of the report cannot be read; ask for the report again") from exc


def _fsync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
