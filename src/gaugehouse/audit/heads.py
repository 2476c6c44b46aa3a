"""The newest hash of each chain, in a file outside the database: without it nobody would miss the last entries.

The file is written after the commit: a crash in between leaves it behind the database, never ahead of it.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

logger = structlog.get_logger()

FILE_NAME = "audit-heads.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest entry of a chain: its number and its hash."""

    number: int
    hash: str


class Heads:
    """The file of an installation; threads and processes may share it.

    Args:
        folder: Where it is: the installation's `secrets`, which no backup copies. A restored database starts anew.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME

    def read(self) -> dict[str, Head] | None:
        """Return the heads by chain, None when there is no such file.

        Raises:
            ValueError: It is damaged.
        """
        try:
            text = self._path.read_text("ascii")
        except FileNotFoundError:
            return None
        found = json.loads(text)
        try:
            return {chain: Head(number=int(head["number"]), hash=str(head["hash"])) for chain, head in found.items()}
        except (AttributeError, KeyError, TypeError) as exc:
            msg = "the file of audit heads is no list of heads"
            raise ValueError(msg) from exc

    def advance(self, heads: Mapping[str, Head], *, ended: frozenset[str] = frozenset()) -> None:
        """Note newer heads, and forget chains that have ended. What is committed stands: a full disk is only logged."""
        try:
            with self._locked():
                known = self.read() or {}
                newer = {chain: head for chain, head in heads.items() if _is_newer(head, known.get(chain))}
                self._write({chain: head for chain, head in (known | newer).items() if chain not in ended})
        except (OSError, ValueError) as exc:
            logger.warning("audit_heads_not_written", error=type(exc).__name__)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, heads: Mapping[str, Head]) -> None:
        draft = self._path.with_suffix(".tmp")
        text = json.dumps({chain: {"number": head.number, "hash": head.hash} for chain, head in heads.items()})
        file = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._path)


def _is_newer(head: Head, known: Head | None) -> bool:
    return known is None or head.number > known.number
