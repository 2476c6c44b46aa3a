"""A data file is compared with what was written before the first question of a process reads it.

Readers of Parquet do not notice most flipped bits: DuckDB ignores the checksums of pages, and a footer has none. To
hash a file costs a small part of what reading it costs, and only once: what rots later, `lake verify` finds.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gaugehouse.errors import Unavailable
from gaugehouse.lake.delta import FileEntry
from gaugehouse.lake.manifest import CommittedFile
from gaugehouse.lake.quarantine import is_broken, refuse_quarantined

FORGOTTEN_FROM = 100_000  # names of files that were merged away meanwhile pile up; to prove one again is cheap
CHANGED = "a question found it missing or not what was written"
SetAside = Callable[[str, str, str], object]


def _leave(_table: str, _path: str, _what: str) -> None:
    return None


class Proofs:
    """Which data files are what was written. May be asked from any thread.

    Args:
        lake_dir: Folder of the tables.
        written: By table and path, as the manifest says; may grow.
        set_aside: Puts a current file (table, path, what is wrong) in quarantine; only the owner of a lake can.
    """

    def __init__(
        self,
        lake_dir: Path,
        written: Mapping[str, Mapping[str, CommittedFile]],
        set_aside: SetAside = _leave,
    ) -> None:
        self._lake_dir = lake_dir
        self._written = written
        self._set_aside = set_aside
        self._proved: set[str] = set()

    def refuse_changed(self, table: str, entries: Iterable[FileEntry]) -> None:
        """Refuse to read files of which one is not what was written; it is in quarantine from then on.

        Raises:
            Unavailable: names project, month and table; or no file can be read right now.
        """
        for entry in entries:
            name = f"{table}/{entry.path}"
            if name in self._proved:
                continue
            written = self._written.get(table, {}).get(entry.path)
            try:
                is_changed = is_broken(self._lake_dir / table, entry, written)
            except (OSError, MemoryError) as exc:
                raise Unavailable("the files of the lake cannot be read right now", retry_after_s=5) from exc
            if is_changed:
                self._set_aside(table, entry.path, CHANGED)
                refuse_quarantined(frozenset({name}), table, [entry])
            if len(self._proved) >= FORGOTTEN_FROM:
                self._proved.clear()
            self._proved.add(name)
