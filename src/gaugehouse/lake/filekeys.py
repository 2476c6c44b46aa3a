"""Which keys may be in a data file: hashes of its row groups, read once and kept within a memory bound.

A late row that is in no file is the usual case of a small late delivery, and reading a file to learn that takes longer
than all the rest of the request. A key without a hit is not in the file; one with a hit is looked for in the file.
Files never change, so what was read stays true.

What a footer says of a row group comes first: files are sorted by name, so a group holds few components over a long
time, and a backfill that goes on where its components' last rows ended meets none.
"""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gaugehouse.errors import Unavailable
from gaugehouse.lake.keyhash import Bools, Int32s, Int64s, UInt64s, are_known
from gaugehouse.lake.rows import TableSpec, as_array, body_extra, instants_us

FOOTERS_LIMIT = 4096  # 1 kB each
HASH_BYTES = 8
MULTIPLIERS = tuple(np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
FOLD = np.uint64(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowGroup:
    """Bounds of a row group's components and instants [us], inclusive; None where the footer does not say."""

    number: int
    rows: int
    components: tuple[str, str] | None
    instants_us: tuple[int, int] | None


@dataclass(slots=True, kw_only=True)
class Keys:
    """Keys that are looked for.

    Args:
        components: Distinct names, sorted.
        component_of: Position of each key's component among them.
        instants_us: Instant of each key. [us]
        hashes: A hash over names, instant and body of each key.
    """

    components: list[str]
    component_of: Int32s
    instants_us: Int64s
    hashes: UInt64s

    def __len__(self) -> int:
        """Return how many."""
        return self.hashes.size

    def inside(self, asked: Int64s, group: _RowGroup) -> Bools:
        """Return which of the keys at these positions lie within a row group's bounds."""
        is_inside = np.ones(asked.size, np.bool_)
        if group.instants_us is not None:
            t = self.instants_us[asked]
            is_inside &= (t >= group.instants_us[0]) & (t <= group.instants_us[1])
        if group.components is not None and is_inside.any():
            # Characters sort like the UTF-8 that the footer sorts by.
            first, last = (
                bisect_left(self.components, group.components[0]),
                bisect_right(self.components, group.components[1]),
            )
            component_of = self.component_of[asked]
            is_inside &= (component_of >= first) & (component_of < last)
        return is_inside


def keys_of(table: pa.Table, spec: TableSpec) -> Keys:
    """Return the keys of rows under their names: columns component, topic, instant, and body_hash for events."""
    column = _encoded(as_array(table.column("component")))
    names: list[str] = column.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return Keys(
        components=[names[code] for code in order],
        component_of=rank[column.indices.to_numpy(zero_copy_only=False)],
        instants_us=instants_us(table.column(spec.instant)),
        hashes=_hashes_of(table, spec),
    )


def _encoded(names: pa.Array) -> pa.DictionaryArray:
    return names if pa.types.is_dictionary(names.type) else names.dictionary_encode()


def _hashed(names: pa.Array) -> UInt64s:
    """Return a hash of each name, made once per distinct one."""
    encoded = _encoded(names)
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

    def may_hold(self, path: Path, keys: Keys, asked: Int64s) -> Bools:
        """Return for each of the keys at the positions `asked` whether the file may hold it.

        Where so much would have to be read that it could not be kept, every key within the bounds may be held.

        Raises:
            Unavailable: the file cannot be read.
        """
        is_hit = np.zeros(asked.size, np.bool_)
        try:
            met = [(group, inside) for group in self._footer(path) if (inside := keys.inside(asked, group)).any()]
            unread_rows = sum(group.rows for group, _inside in met if (path, group.number) not in self._hashes)
            is_worth_it = unread_rows * HASH_BYTES <= self._limit_bytes // 2
            for group, inside in met:
                if is_worth_it:
                    hashes = self._row_group(path, group.number)
                    is_hit[inside] |= are_known(keys.hashes[asked[inside]], [hashes])
                else:
                    is_hit |= inside
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
        groups = list(_row_groups(pq.read_metadata(path), self._spec))
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


def _row_groups(footer: pq.FileMetaData, spec: TableSpec) -> Iterator[_RowGroup]:
    names = footer.schema.names
    component_at, instant_at = names.index("component"), names.index(spec.instant)
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        names_in, instants_in = (group.column(at).statistics for at in (component_at, instant_at))
        yield _RowGroup(
            number=number,
            rows=group.num_rows,
            components=(names_in.min, names_in.max) if _has_bounds(names_in) else None,
            instants_us=(instants_in.min_raw, instants_in.max_raw) if _has_bounds(instants_in) else None,
        )


def _has_bounds(statistics: pq.Statistics | None) -> bool:
    return statistics is not None and bool(statistics.has_min_max)


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
