"""What only the owner's memory knows, as one moment: for `lake status`, and for `lake verify` to compare with."""

from collections.abc import Mapping

import msgspec

from gaugehouse.lake.sequencer import Sequencer


class LiveTable(msgspec.Struct, frozen=True, kw_only=True):
    """One table as readers see it.

    Args:
        file_rows: Rows of its files.
        hot_rows: Acknowledged rows that are not in files yet.
        series: How many series have rows.
    """

    file_rows: int
    hot_rows: int
    series: int


class LiveFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One moment of a running owner.

    Args:
        tables: What readers see.
        open_segment: Number of the log segment that takes rows.
        through_us: Everything received up to this instant is visible, nothing behind it. [us]
        unflushed_rows: Rows in the log that are not in files yet.
        unflushed_bytes: What they take in the log.
        oldest_unflushed_us: When the oldest of them was received, -1 for none. [us]
    """

    tables: dict[str, LiveTable]
    open_segment: int
    through_us: int
    unflushed_rows: int
    unflushed_bytes: int
    oldest_unflushed_us: int


def live_facts(sequencer: Sequencer) -> LiveFacts:
    """Return one moment of an owner."""
    with sequencer.view_lock:
        segments = [*sequencer.sealed, sequencer.active]
        files, through_us = sequencer.files, sequencer.visible_through_us
        hot = {name: sum(segment.hot[name].visible for segment in segments) for name in sequencer.indexes}
        number = sequencer.active.number
    series = _count_series(sequencer)
    first_us = [segment.first_us for segment in segments if segment.rows and segment.first_us >= 0]
    return LiveFacts(
        tables={
            name: LiveTable(file_rows=sum(entry.rows for entry in files[name]), hot_rows=hot[name], series=series[name])
            for name in sequencer.indexes
        },
        open_segment=number,
        through_us=through_us,
        unflushed_rows=sequencer.unflushed_rows(),
        unflushed_bytes=sequencer.unflushed_bytes(),
        oldest_unflushed_us=min(first_us, default=-1),
    )


def _count_series(sequencer: Sequencer) -> Mapping[str, int]:
    return {name: len(index) for name, index in sequencer.indexes.items()}
