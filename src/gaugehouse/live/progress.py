"""Progress of reports: workers are other processes, so the database is asked, once a second for all readers."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from gaugehouse.database import Database
from gaugehouse.reports import ReportProgress, find_progress

ASK_PERIOD_S = 1.0


class ProgressWatch:
    """What is known of the reports that somebody follows. Shared by all threads.

    Args:
        database: Where workers write.
        clock: Monotonic seconds. [s]
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._wanted: Counter[str] = Counter()
        self._known: Mapping[str, ReportProgress] = {}
        self._asked_s = float("-inf")

    def follow(self, report_ids: Sequence[str]) -> None:
        """Ask about these too from now on."""
        with self._lock:
            self._wanted.update(report_ids)
            self._asked_s = float("-inf")

    def leave(self, report_ids: Sequence[str]) -> None:
        """Ask no more about what nobody else follows."""
        with self._lock:
            self._wanted.subtract(report_ids)
            self._wanted += Counter()  # drops what is at zero

    def find(self, report_ids: Sequence[str]) -> list[ReportProgress]:
        """Return what is known of these, at most a second old.

        Raises:
            Unavailable: the database is away.
        """
        with self._lock:  # who comes at the same time waits for the one question
            if self._clock() - self._asked_s >= ASK_PERIOD_S:
                self._asked_s = self._clock()
                with self._database.reading() as session:
                    self._known = find_progress(session, list(self._wanted))
            return [self._known[one] for one in report_ids if one in self._known]
