"""Where the bytes of a damaged file can be had again, and where the damaged ones stay."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gaugehouse.errors import is_exhausted
from gaugehouse.lake.backup import Pool, pool_path
from gaugehouse.lake.durable import make_folder, write_file
from gaugehouse.lake.plain import PLAIN
from gaugehouse.lake.quarantine import FOLDER, free_name

DAMAGED = "damaged"  # below `log`: originals of what was mended there
TRIED_BYTES = 1_000_000_000  # hashed in a few seconds; files of up to 15 kB
BITS = 8
IN_PLACE = "it is whole again"


class Mended(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not as it was written, and what became of it.

    Args:
        name: 'table/path' of a file of the lake, or 'log/name'.
        what: Was done, or why nothing could be.
        is_whole: Whether nothing of it is lost.
        rows: Of a data file; brought back, or lost until a copy is found.
        project: Whose rows.
        month: 'YYYY-MM' of them.
    """

    name: str
    what: str
    is_whole: bool = True
    rows: int = 0
    project: str = ""
    month: str = ""


def keep_original(path: Path, folder: Path) -> None:
    """Copy a damaged file into a folder, synced; a copy of an earlier damage stays beside it."""
    content = path.read_bytes()
    make_folder(folder)
    kept = [other for other in folder.glob(f"{path.name}*") if other.read_bytes() == content]
    if not kept:
        write_file(free_name(folder / path.name), content)


def unflip(content: bytes, sha256: str) -> bytes | None:
    """Return the bytes in which one bit has flipped, found by trying them all; None when it was not one, or takes long.

    The checksum proves it: nothing else has the same SHA-256.
    """
    if BITS * len(content) ** 2 // 2 > TRIED_BYTES:
        return None
    wanted, draft, before = bytes.fromhex(sha256), bytearray(content), hashlib.sha256()
    for at in range(len(draft)):
        for bit in range(BITS):
            draft[at] ^= 1 << bit
            tried = before.copy()
            tried.update(memoryview(draft)[at:])
            if tried.digest() == wanted:
                return bytes(draft)
            draft[at] ^= 1 << bit
        before.update(content[at : at + 1])
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Every place that may hold a data file as it was written.

    Args:
        lake_dir: Folder of the tables.
        pool: Data files of backups.
    """

    lake_dir: Path
    pool: Pool | None

    def find(self, table: str, path: str, sha256: str | None) -> tuple[bytes, str] | None:
        """Return (the bytes of a file as they were written, where they were), None when nobody has them.

        Args:
            table: Its table.
            path: Its path in the table.
            sha256: What was written; None when only the list of a backup can say it.
        """
        listed = None if self.pool is None else self.pool.files.get(f"{table}/{path}")
        wanted = sha256 or (None if listed is None else listed.sha256)
        if wanted is None:
            return None
        damaged = []
        for copy, where in self._places(table, path):
            content = _read(copy)
            if content is not None and hashlib.sha256(content).hexdigest() == wanted:
                return content, where
            damaged.append(content)
        for content in damaged[:2]:  # where it lies, or lay before it was set aside
            mended = None if content is None else unflip(content, wanted)
            if mended is not None:
                return mended, "one flipped bit put right"
        return None

    def _places(self, table: str, path: str) -> Iterator[tuple[Path, str]]:
        root = self.lake_dir / table
        yield root / path, IN_PLACE
        yield root / FOLDER / path, "the copy in quarantine is whole"
        yield self.lake_dir / PLAIN / table / path, "plain/ still had it"
        if self.pool is not None:
            yield pool_path(self.pool.folder, table, path), "copied from the backup"


def _read(path: Path) -> bytes | None:
    """Return a file's bytes, None when it is not there or the disk cannot read it."""
    try:
        return path.read_bytes()
    except OSError as exc:
        if is_exhausted(exc):
            raise
        return None
