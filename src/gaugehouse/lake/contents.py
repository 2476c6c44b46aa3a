"""What one data file really holds: every page read, its order, its bounds, its keys as hashes."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gaugehouse.errors import is_exhausted
from gaugehouse.lake.keyhash import NO_EXTRA, Int64s, UInt64s, hash_keys
from gaugehouse.lake.manifest import CommittedFile
from gaugehouse.lake.rows import TableSpec, as_array, body_extra, instants_us

NAME_SPREAD = np.int64(-7046029254386353131)  # 2^64 / golden ratio: component and topic must not cancel each other
Span = tuple[str, str, int]


@dataclass(slots=True, kw_only=True)
class Contents:
    """Facts of one file; bounds are exact and inclusive. [us]

    Args:
        rows: How many.
        components: Smallest and largest name, None for an empty file.
        instants_us: Bounds of the time column.
        received_us: Bounds of received_at.
        unsorted_rows: Rows that stand before one that belongs before them, or repeat its key.
        hashes: One per key, in file order.
    """

    rows: int = 0
    components: tuple[str, str] | None = None
    instants_us: tuple[int, int] | None = None
    received_us: tuple[int, int] | None = None
    unsorted_rows: int = 0
    hashes: list[UInt64s] = field(default_factory=list)
    _last: Span | None = None


def read_written(
    root: Path, path: str, written: CommittedFile | None, size_bytes: int
) -> tuple[bytes | None, tuple[str, str] | None]:
    """Return (the bytes of a file, None) or, when they are not what was written, (None, (code, what is wrong))."""
    try:
        content = (root / path).read_bytes()
    except FileNotFoundError:
        return None, ("file_missing", "the file is missing")
    except OSError as exc:
        if is_exhausted(exc):
            raise
        return None, ("file_unreadable", "the disk cannot read the file")
    if len(content) != size_bytes:
        return None, ("file_damaged", f"it has {len(content):,} bytes where {size_bytes:,} were written")
    if written is not None and hashlib.sha256(content).hexdigest() != written.sha256:
        return None, ("file_damaged", "its bytes are not what was written")
    return content, None


def iter_groups(content: bytes, spec: TableSpec, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the row groups of a file's bytes, page checksums verified.

    Raises:
        OSError, pa.ArrowException: it cannot be read.
    """
    file = pq.ParquetFile(
        pa.BufferReader(content), read_dictionary=["component", spec.topic], page_checksum_verification=True
    )
    for group in range(file.metadata.num_row_groups):
        yield file.read_row_group(group, columns=columns)


def read_contents(content: bytes, spec: TableSpec, *, share: tuple[int, int] = (0, 1)) -> Contents:
    """Read every page of a file and return what it holds.

    Args:
        content: The file's bytes, which must be what was written: a damaged footer can end a process.
        spec: Of the table.
        share: (which, of how many): hashes are kept only of this part of all keys.

    Raises:
        OSError, pa.ArrowException: it cannot be read.
    """
    found = Contents()
    for group in iter_groups(content, spec):
        if group.num_rows:
            _take(found, group, spec, share)
    return found


def _take(found: Contents, group: pa.Table, spec: TableSpec, share: tuple[int, int]) -> None:
    components, component_codes = names_and_codes(group.column("component"))
    topics, topic_codes = names_and_codes(group.column(spec.topic))
    t = instants_us(group.column(spec.instant))
    received = instants_us(group.column("received_at"))
    series = _ranks(components)[component_codes] * len(topics) + _ranks(topics)[topic_codes]
    used = {components[code] for code in np.unique(component_codes).tolist()}
    known = found.components or (min(used), max(used))
    found.rows += group.num_rows
    found.components = (min(known[0], *used), max(known[1], *used))
    found.instants_us = _widened(found.instants_us, t)
    found.received_us = _widened(found.received_us, received)
    found.unsorted_rows += _count_unsorted(series, t, may_repeat=spec.has_extra)
    first = (components[component_codes[0]], topics[topic_codes[0]], int(t[0]))
    if found._last is not None:  # noqa: SLF001 - written here alone
        is_repeat = found._last == first and not spec.has_extra  # noqa: SLF001 - likewise
        found.unsorted_rows += found._last > first or is_repeat  # noqa: SLF001 - likewise
    found._last = (components[component_codes[-1]], topics[topic_codes[-1]], int(t[-1]))  # noqa: SLF001 - likewise
    hashes = hash_group(group, spec)
    which, of = share
    found.hashes.append(hashes if of == 1 else hashes[hashes % np.uint64(of) == np.uint64(which)])


def names_and_codes(column: pa.ChunkedArray) -> tuple[list[str], Int64s]:
    """Return the names of a dictionary column and each row's position among them."""
    array = as_array(column.unify_dictionaries())
    return array.dictionary.to_pylist(), array.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _ranks(names: list[str]) -> Int64s:
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return rank


def _widened(bounds: tuple[int, int] | None, values: Int64s) -> tuple[int, int]:
    low, high = int(values.min()), int(values.max())
    return (low, high) if bounds is None else (min(low, bounds[0]), max(high, bounds[1]))


def _count_unsorted(series: Int64s, t: Int64s, *, may_repeat: bool) -> int:
    same = series[1:] == series[:-1]
    is_wrong_time = t[1:] < t[:-1] if may_repeat else t[1:] <= t[:-1]
    return int(np.count_nonzero((series[1:] < series[:-1]) | (same & is_wrong_time)))


def hash_group(group: pa.Table, spec: TableSpec) -> UInt64s:
    """Return one 64-bit hash per key: alike for equal keys of whatever file of this process."""
    components, component_codes = names_and_codes(group.column("component"))
    topics, topic_codes = names_and_codes(group.column(spec.topic))
    series = _name_hashes(components)[component_codes] * NAME_SPREAD + _name_hashes(topics)[topic_codes]
    extra = body_extra(group, spec) if spec.has_extra else NO_EXTRA
    hashes: UInt64s = hash_keys(series, instants_us(group.column(spec.instant)), extra)
    return hashes


def _name_hashes(names: list[str]) -> Int64s:
    return np.fromiter((hash(name) for name in names), np.int64, len(names))


def repeated_hashes(parts: Iterable[UInt64s]) -> UInt64s:
    """Return the hashes that are there more than once. Takes 16 bytes per key."""
    arrays = list(parts)
    if not arrays:
        return np.empty(0, np.uint64)
    hashes = np.concatenate(arrays)
    arrays.clear()
    hashes.sort()
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def find_keys(content: bytes, spec: TableSpec, hashes: UInt64s) -> list[tuple[object, ...]]:
    """Return the keys of a file that have one of these hashes, once for each row."""
    names = ["component", spec.topic, spec.instant, *(["body_hash"] if spec.has_extra else [])]
    keys: list[tuple[object, ...]] = []
    for group in iter_groups(content, spec, names):
        wanted = np.flatnonzero(np.isin(hash_group(group, spec), hashes))
        rows = group.select(names).take(pa.array(wanted))
        t = instants_us(rows.column(spec.instant)).tolist()
        columns = [t if name == spec.instant else rows.column(name).to_pylist() for name in names]
        keys += zip(*columns, strict=True)
    return keys
