"""What `kpi_values` is compared with: its own manifest, its Delta log, the order and the keys of its rows.

Findings have codes of their own: nothing of this table is ever quarantined or lost, it is built anew.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gaugehouse.config import Layout
from gaugehouse.lake.contents import read_written
from gaugehouse.lake.delta import LOG_FOLDER
from gaugehouse.lake.deltalog import ListedFile, TableLog, read_log
from gaugehouse.lake.findings import Finding
from gaugehouse.lake.keyhash import Int64s
from gaugehouse.lake.manifest import Manifest, read_manifest, values_manifest_path
from gaugehouse.lake.rows import VALUES, as_array, instants_us

VALUE_NAMES = ["report_id", "component", "metric", "kpi", "unit", "status"]
KEY_COLUMNS = ["report_id", "revision", "component", "metric", "kpi", "bucket_start"]
ATTEMPTS, ATTEMPT_PERIOD_S = 5, 0.5
REMEDY = "`gaugehouse lake repair` has the table built anew from the results of the reports"
Revision = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePicture:
    """What the disk says of the table: its manifest, and its log up to the version that the manifest calls durable."""

    manifest: Manifest
    log: TableLog


@dataclass(slots=True, kw_only=True)
class ValueCheck:
    """What was looked at, and what is wrong."""

    files: int = 0
    rows: int = 0
    size_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)


def take_value_picture(layout: Layout, *, is_online: bool = True) -> ValuePicture | None:
    """Return what the disk says of the table, None when there is none: no report was ever done."""
    root = layout.lake_dir / VALUES.name
    if not root.exists():
        return None
    manifest = read_manifest(values_manifest_path(layout))
    prefix = f"{LOG_FOLDER}/"
    known = manifest.files.get(VALUES.name, {})
    digests = {path.removeprefix(prefix): file.sha256 for path, file in known.items() if path.startswith(prefix)}
    up_to = manifest.durable_version.get(VALUES.name, -1)  # what came after, the next to open the table settles
    return ValuePicture(manifest=manifest, log=read_log(root, up_to=up_to, digests=digests, is_online=is_online))


def find_value_projects(layout: Layout) -> set[str]:
    """Return the slugs of the projects that the table has rows of."""
    picture = take_value_picture(layout)
    return set() if picture is None else {file.project for file in picture.log.state.files.values()}


def _go_on() -> None:
    return None


def check_values(layout: Layout, *, is_online: bool, before_file: Callable[[], None] = _go_on) -> ValueCheck:
    """Check that every file is there and what was written, that it is in order, and that no key is there twice.

    Args:
        layout: Where the lake lives.
        is_online: Whether an owner goes on meanwhile: then what is wrong must be so twice.
        before_file: Called before each; may raise to end the check.
    """
    check = _check(layout, before_file, is_online=is_online)
    for _attempt in range(ATTEMPTS if is_online else 0):
        if not check.findings:
            break
        time.sleep(ATTEMPT_PERIOD_S)
        before, check = check.findings, _check(layout, before_file, is_online=is_online)
        if check.findings == before:
            break
    return check


def _check(layout: Layout, before_file: Callable[[], None], *, is_online: bool) -> ValueCheck:
    check, picture = ValueCheck(), take_value_picture(layout, is_online=is_online)
    if picture is None:
        return check
    if picture.manifest.damaged_lines:
        check.findings.append(_damage("values_damaged", "lines of its manifest are not what was written"))
    elif not picture.manifest.line_count:
        what = "there is no manifest of it: its creation was cut off, or the manifest is lost; a start builds it anew"
        check.findings.append(Finding(code="values_torn", is_damage=False, what=what, table=VALUES.name))
    for wrong in picture.log.damage:
        what = f"{wrong.name} of the Delta log {wrong.what}"
        check.findings.append(_damage("values_damaged", what, name=f"{LOG_FOLDER}/{wrong.name}"))
    holders: dict[Revision, str] = {}
    for file in sorted(picture.log.state.files.values(), key=lambda file: file.path):
        before_file()
        check.findings += _check_file(layout, picture, file, check, holders)
    return check


def _damage(code: str, what: str, *, name: str = "", file: ListedFile | None = None) -> Finding:
    return Finding(
        code=code,
        is_damage=True,
        what=f"{what}; {REMEDY}",
        table=VALUES.name,
        project="" if file is None else file.project,
        month="" if file is None else file.month,
        name=name if file is None else file.path,
    )


def _check_file(
    layout: Layout, picture: ValuePicture, file: ListedFile, check: ValueCheck, holders: dict[Revision, str]
) -> Iterator[Finding]:
    written = picture.manifest.files.get(VALUES.name, {}).get(file.path)
    content, wrong = read_written(layout.lake_dir / VALUES.name, file.path, written, file.size_bytes)
    check.files += 1
    check.size_bytes += file.size_bytes
    if content is None or written is None:
        yield _damage("values_damaged", wrong[1] if wrong else "the manifest does not know the file", file=file)
        return
    try:
        rows = _read_keys(content)
    except MemoryError:
        raise  # Arrow's is an ArrowException too, and says nothing about the file
    except (OSError, pa.ArrowException):
        yield _damage("values_damaged", "a page cannot be read", file=file)
        return
    check.rows += rows.num_rows
    if not file.path.startswith(f"project={file.project}/month={file.month}/"):
        yield _damage("values_damaged", "its folder is that of another partition", file=file)
    if rows.num_rows != file.rows:
        yield _damage("values_damaged", f"it holds {rows.num_rows:,} rows, not {file.rows:,}", file=file)
    if not _is_rising(rows):
        yield _damage("values_repeated", "a key is there twice, or its rows are not in order", file=file)
    for revision in _revisions(rows):
        if revision in holders:
            what = f"revision {revision[1]} of {revision[0]} is also in {holders[revision]}"
            yield _damage("values_repeated", what, file=file)
        holders[revision] = file.path


def _read_keys(content: bytes) -> pa.Table:
    """Return the key columns of a file, every page of it read."""
    file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=VALUE_NAMES, page_checksum_verification=True)
    rows = file.read(columns=VALUES.rows.names)
    return rows.select(KEY_COLUMNS).unify_dictionaries().combine_chunks()


def _is_rising(rows: pa.Table) -> bool:
    """Say whether each key is greater than the one before."""
    is_equal, is_less = np.ones(max(0, rows.num_rows - 1), np.bool_), np.zeros(max(0, rows.num_rows - 1), np.bool_)
    for name in KEY_COLUMNS:
        values = _comparable(rows.column(name))
        is_less |= is_equal & (values[:-1] < values[1:])
        is_equal &= values[:-1] == values[1:]
    return bool(is_less.all())


def _comparable(column: pa.ChunkedArray) -> NDArray[np.integer]:
    if pa.types.is_dictionary(column.type):
        return rank_names(as_array(column))
    if pa.types.is_timestamp(column.type):
        return instants_us(column)
    values: NDArray[np.integer] = as_array(column).to_numpy()
    return values


def order_by_key(rows: pa.Table, columns: Sequence[str]) -> Int64s:
    """Return the positions of rows, whose names are dictionaries, by the columns of a key; absent names are last."""
    order: Int64s = np.lexsort([_comparable(rows.column(name)) for name in reversed(columns)])
    return order


def rank_names(names: pa.DictionaryArray) -> Int64s:
    """Return for each row the position of its name among the sorted names of a dictionary; absent ones are last."""
    known = names.dictionary.to_pylist()
    rank = np.empty(len(known) + 1, np.int64)
    rank[sorted(range(len(known)), key=known.__getitem__)] = np.arange(len(known))
    rank[-1] = len(known)
    ranks: Int64s = rank[names.indices.fill_null(len(known)).to_numpy()]
    return ranks


def count_runs(reports: Int64s, revisions: NDArray[np.integer]) -> int:
    """Return how often report or revision change from row to row, the first counted."""
    changes = (reports[1:] != reports[:-1]) | (revisions[1:] != revisions[:-1])
    return int(np.count_nonzero(changes)) + (reports.size > 0)


def _revisions(rows: pa.Table) -> Iterable[Revision]:
    """Return the distinct (report, revision) of sorted rows."""
    reports, revisions = as_array(rows.column("report_id")), as_array(rows.column("revision"))
    codes, numbers = reports.indices.to_numpy(), revisions.to_numpy()
    starts = np.flatnonzero(np.r_[True, (codes[1:] != codes[:-1]) | (numbers[1:] != numbers[:-1])])
    names = reports.dictionary.to_pylist()
    return itertools.starmap(
        lambda code, number: (names[code], number), zip(codes[starts].tolist(), numbers[starts].tolist(), strict=True)
    )
