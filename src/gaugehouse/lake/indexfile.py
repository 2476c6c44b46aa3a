"""The saved series index: the newest row of each series, so that a start need not read the lake.

Bound to a Delta version and its file list. At start, files that came later are read on top; a file that is missing,
torn or of another history is ignored and the index is rebuilt by a scan.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import crc32c
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from gaugehouse.lake.delta import DeltaStore, FileEntry
from gaugehouse.lake.durable import make_folder, write_file
from gaugehouse.lake.known import SeriesIndex
from gaugehouse.lake.rows import TableSpec
from gaugehouse.lake.snapshot import Engine, read_newest

logger = structlog.get_logger()

FILES_PER_STEP = 64
CHECKSUM_BYTES = 4
Progress = Callable[[str, int, int], None]


def index_path(log_dir: Path, spec: TableSpec) -> Path:
    return log_dir / "index" / f"{spec.name}.arrow"


def save_index(log_dir: Path, index: SeriesIndex, store: DeltaStore) -> None:
    """Save what is visible now, bound to the table's current version."""
    table = index.all_newest()
    table = table.replace_schema_metadata({"version": str(store.version), "files": "\n".join(store.files)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table.unify_dictionaries())
    body = memoryview(sink.getvalue())
    path = index_path(log_dir, index.spec)
    make_folder(path.parent)
    write_file(path, crc32c.crc32c(body).to_bytes(CHECKSUM_BYTES, "little") + body)


def load_index(log_dir: Path, index: SeriesIndex, store: DeltaStore, engine: Engine, on_progress: Progress) -> None:
    """Fill the index from the saved one and the files it does not know, or from all files."""
    saved = _read_saved(index_path(log_dir, index.spec), store)
    known: set[str] = set()
    if saved is not None:
        known = set(saved.schema.metadata[b"files"].decode().split("\n"))
        for project, part in _by_project(saved):
            index.load_newest(project, part)
    rest = [entry for path, entry in store.files.items() if path not in known]
    if rest:
        logger.info("series_index_scans_files", table=store.spec.name, files=len(rest), has_saved_index=bool(known))
    _scan(index, store, rest, engine, on_progress)


def _read_saved(path: Path, store: DeltaStore) -> pa.Table | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    body = memoryview(content)[CHECKSUM_BYTES:]
    if crc32c.crc32c(body).to_bytes(CHECKSUM_BYTES, "little") != content[:CHECKSUM_BYTES]:
        logger.warning("series_index_unreadable", table=store.spec.name)
        return None
    table = pa.ipc.open_file(pa.py_buffer(body)).read_all()
    if int(table.schema.metadata[b"version"]) > store.version:
        logger.warning("series_index_of_another_history", table=store.spec.name)
        return None
    return table


def _by_project(saved: pa.Table) -> list[tuple[str, pa.Table]]:
    projects = saved.column("project").unique().to_pylist()
    is_of = {project: pc.equal(saved.column("project"), project) for project in projects}
    return [(project, saved.filter(is_of[project]).drop_columns(["project"])) for project in projects]


def _scan(
    index: SeriesIndex, store: DeltaStore, entries: Sequence[FileEntry], engine: Engine, on_progress: Progress
) -> None:
    done = 0
    for project in sorted({entry.project for entry in entries}):
        mine = [entry for entry in entries if entry.project == project]
        for start in range(0, len(mine), FILES_PER_STEP):
            step = mine[start : start + FILES_PER_STEP]
            newest = read_newest(engine, index.spec, [str(store.root / entry.path) for entry in step])
            index.load_newest(project, newest)
            done += len(step)
            on_progress(f"indexing {index.spec.name}", done, len(entries))
