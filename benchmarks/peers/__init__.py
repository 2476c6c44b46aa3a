"""Other databases that take the same rows in the same run. Nothing of them is installed into the system.

Two kinds: a *table* (`tables.py`) is a library and takes Arrow batches in a process of its own; a *line server*
(`servers.py`) takes InfluxDB line protocol over HTTP on loopback. One module per database; what cannot be had on this
machine raises `PeerMissing` and is printed as skipped.
"""

from enum import StrEnum


class Acknowledged(StrEnum):
    """Where a row is at least once its sender is told that it was taken."""

    MEMORY = "memory"
    PAGE_CACHE = "page cache"
    FSYNC = "fsync"


class PeerMissing(Exception):
    """This peer cannot be had on this machine; the message says why."""
