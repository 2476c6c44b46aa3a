"""Which keys may be in a data file: hashes of its row groups, read once and kept within a memory bound.

A late row that is in no file is the usual case of a small late delivery, and reading a file to learn that takes longer
than all the rest of the request. A key without a hit is not in the file; one with a hit is looked for in the file.
Files never change, so what was read stays true.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gaugehouse.errors import Unavailable
from gaugehouse.lake.keyhash import Bools, Int64s, UInt64s
from gaugehouse.lake.rows import TableSpec, as_array, body_extra, instants_us

FOOTERS_LIMIT = 4096  # 1 kB each
MULTIPLIERS = tuple(np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
FOLD = np.uint64(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowGroup:
    """Bounds of a row group's first column, inclusive; None where the footer does not say."""

    number: int
    components: tuple[str, str] | None


@dataclass(slots=True, kw_only=True)
class Keys:
    """Keys that are looked for: names, and a hash over names, instant and body."""

    components: list[str]
    hashes: UInt64s

    def __len__(self) -> int:
        """Return how many."""
        return len(self.components)


def keys_of(table: pa.Table, spec: TableSpec) -> Keys:
    """Return the keys of rows under their names: columns component, topic, instant, and body_hash for events."""
    names: list[str] = table.column("component").to_pylist()
    return Keys(components=names, hashes=_hashes_of(table, spec))


def _hashed(names: pa.Array) -> UInt64s:
    """Return a hash of each name, made once per distinct one."""
    encoded = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
    digests = b"".join(blake2b(name.encode(), digest_size=8).digest() for name in encoded.dictionary.to_pylist())
    hashes: UInt64s = np.frombuffer(digests, np.uint64)[encoded.indices.to_numpy(zero_copy_only=False)]
    return hashes


def _mixed(components: UInt64s, topics: UInt64s, t: Int64s, extra: Int64s) -> UInt64s:
    mixed = components * MULTIPLIERS[0] ^ topics
    mixed = (mixed ^ (mixed >> FOLD)) * MULTIPLIERS[1] ^ t.view(np.uint64)
    mixed = (mixed ^ (mixed >> FOLD)) * MULTIPLIERS[2]
    return mixed ^ extra.view(np.uint64) if extra.size else mixed


class FileKeys:
    """Answers whether files may hold keys. Used by one thread at a time.

    Args:
        spec: The table that the files are of.
        limit_bytes: Memory for hashes. [bytes]
    """

    def __init__(self, spec: TableSpec, limit_bytes: int) -> None:
        self._spec = spec
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._footers: OrderedDict[Path, list[_RowGroup]] = OrderedDict()
        self._hashes: OrderedDict[tuple[Path, int], UInt64s] = OrderedDict()

    def may_hold(self, path: Path, keys: Keys, asked: Sequence[int]) -> Bools:
        """Return for each of the keys numbered `asked` whether the file may hold it.

        Raises:
            Unavailable: the file cannot be read.
        """
        is_hit = np.zeros(len(asked), np.bool_)
        names = [keys.components[number] for number in asked]
        try:
            for group in self._footer(path):
                inside = np.array([_is_inside(name, group.components) for name in names], np.bool_)
                if inside.any():
                    hashes = self._row_group(path, group.number)
                    wanted = keys.hashes[np.asarray(asked)[inside]]
                    is_hit[inside] |= _contains(hashes, wanted)
        except (OSError, pa.ArrowException) as exc:
            raise Unavailable("a file of the lake cannot be read", retry_after_s=5) from exc
        return is_hit

    def size_bytes(self) -> int:
        return self._size_bytes

    def _footer(self, path: Path) -> list[_RowGroup]:
        known = self._footers.get(path)
        if known is not None:
            self._footers.move_to_end(path)
            return known
        groups = list(_row_groups(pq.read_metadata(path)))
        self._footers[path] = groups
        while len(self._footers) > FOOTERS_LIMIT:
            self._footers.popitem(last=False)
        return groups

    def _row_group(self, path: Path, number: int) -> UInt64s:
        known = self._hashes.get((path, number))
        if known is not None:
            self._hashes.move_to_end((path, number))
            return known
        hashes = _read_hashes(path, number, self._spec)
        self._hashes[path, number] = hashes
        self._size_bytes += hashes.nbytes
        while self._size_bytes > self._limit_bytes and len(self._hashes) > 1:
            _oldest, forgotten = self._hashes.popitem(last=False)
            self._size_bytes -= forgotten.nbytes
        return hashes


def _row_groups(footer: pq.FileMetaData) -> Iterator[_RowGroup]:
    for number in range(footer.num_row_groups):
        first = footer.row_group(number).column(0)
        statistics = first.statistics if first.path_in_schema == "component" else None
        bounds = (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else None
        yield _RowGroup(number=number, components=bounds)


def _is_inside(name: str, bounds: tuple[str, str] | None) -> bool:
    return bounds is None or bounds[0] <= name <= bounds[1]  # characters sort like the UTF-8 that the footer sorts by


def _contains(sorted_hashes: UInt64s, wanted: UInt64s) -> Bools:
    positions = np.searchsorted(sorted_hashes, wanted)
    positions[positions == sorted_hashes.size] = 0
    found: Bools = sorted_hashes[positions] == wanted
    return found


def _read_hashes(path: Path, number: int, spec: TableSpec) -> UInt64s:
    names = ["component", spec.topic]
    columns = [*names, spec.instant, *(["body_hash"] if spec.has_extra else [])]
    with pq.ParquetFile(path, read_dictionary=names, page_checksum_verification=True) as file:
        table = file.read_row_group(number, columns=columns, use_threads=False)
    hashes = _hashes_of(table, spec)
    hashes.sort()
    return hashes


def _hashes_of(table: pa.Table, spec: TableSpec) -> UInt64s:
    """Return the hash of each row's key."""
    component, topic = (as_array(table.column(name)) for name in ("component", spec.topic))
    return _mixed(_hashed(component), _hashed(topic), instants_us(table.column(spec.instant)), body_extra(table, spec))
