"""Progress of a report that reads its rows in several passes: its own, one per firmware version, the one compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gaugehouse.jobs import Progress

OnProgress = Callable[[Progress], None]

COUNTING, COMPUTING, GROUPING, COMPARING, FINISHING = "counting", "computing", "grouping", "comparing", "finishing"


def say_nothing(_progress: Progress) -> None:
    """Tell nobody about progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One reading of rows.

    Args:
        phase: What it is for.
        rows: How many it reads at most, by what the files say.
        series: Of how many series.
    """

    phase: str
    rows: int
    series: int


class Passes:
    """Follows passes one after the other, and tells of them as one.

    Args:
        planned: All of them, in their order.
        on_progress: Is told; raise in it to stop.
    """

    def __init__(self, planned: Sequence[Pass], on_progress: OnProgress) -> None:
        self._planned = planned
        self._on_progress = on_progress
        self._rows = [one.rows for one in planned]  # exact, once a pass has counted
        self._at = -1
        self._read = 0

    def begin(self) -> OnProgress:
        """Return who is told of the next pass."""
        if self._at >= 0:
            self._read += self._rows[self._at]
        self._at += 1
        return self._tell

    def finish(self, doing: str) -> None:
        """Say that all are read."""
        rows = sum(self._rows)
        self._on_progress(Progress(percent=100, doing=doing, phase=FINISHING, rows_read=rows, rows_total=rows))

    def _tell(self, progress: Progress) -> None:
        own = self._planned[self._at]
        if progress.rows_total is not None:
            self._rows[self._at] = progress.rows_total
        weights = [one.rows + one.series + 1 for one in self._planned]  # as planned: per cent shall not go back
        percent = (100 * sum(weights[: self._at]) + weights[self._at] * progress.percent) / sum(weights)
        self._on_progress(
            replace(
                progress,
                percent=percent,
                phase=own.phase if progress.phase == COMPUTING else progress.phase,
                rows_read=self._read + (progress.rows_read or 0),
                rows_total=sum(self._rows),
            )
        )
