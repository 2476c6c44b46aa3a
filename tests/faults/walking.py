"""A worker of reports that strikes itself: with a signal, at the n-th line that one of its threads walks through.

A worker is `gaugehouse worker` in all but its start. Its blow comes in a phase of a report; a run without one counts the
lines of each phase, and leaves those of its first report in `<data_dir>/<name>.json`.
"""

import json
import os
import threading
from collections import Counter
from pathlib import Path

import gaugehouse
from gaugehouse.cli.working import work_forever
from gaugehouse.jobs import queue, worker
from gaugehouse.kpi import compute_facts, evaluate
from gaugehouse.lake import Snapshot, open_snapshot
from gaugehouse.reports import chunks, result, run
from gaugehouse.reports.digest import digest_result

PACKAGE = str(Path(gaugehouse.__file__).parent)
# Phase -> the functions within whose calls its lines are; of two that call each other the inner one counts.
PHASES = {
    "claiming": (queue.claim,),
    "reading": (run._refuse_gone, run._wait_for_lake, open_snapshot, Snapshot.estimate_series, chunks.load_chunk),
    "computing": (compute_facts, evaluate, digest_result),
    "writing the file": (result.write_result,),
    "storing the result": (run._store,),
    "recording the end": (worker._Worker._end,),
}
LAST_PHASE = "recording the end"


class Walk:
    """Counts the lines of the product that threads walk through, by phase, and strikes at one of them.

    Args:
        blow: (phase, line, signal number), or None.
        counts: Where the counts go when the first report has ended.
    """

    def __init__(self, blow, counts):
        self._counts = counts
        self._blow = None if blow is None else tuple(blow)
        self._entered = {function.__code__: phase for phase, functions in PHASES.items() for function in functions}
        self._here = threading.local()
        self.lines = Counter()

    def trace(self, frame, _event, _arg):
        """Follow a call, when it belongs to a phase; for `threading.settrace`."""
        phases = self._here.__dict__.setdefault("phases", [])
        phase = self._entered.get(frame.f_code)
        if phase is None:
            return self._follow if phases and frame.f_code.co_filename.startswith(PACKAGE) else None
        phases.append(phase)
        return self._follow_entered

    def _follow_entered(self, frame, event, arg):
        self._follow(frame, event, arg)
        if event == "return":
            phase = self._here.phases.pop()
            if phase == LAST_PHASE and not self._counts.exists():
                self._counts.write_text(json.dumps(self.lines))
        return self._follow_entered

    def _follow(self, _frame, event, _arg):
        if event == "line":
            phase = self._here.phases[-1]
            self.lines[phase] += 1
            if self._blow is not None and self._blow[:2] == (phase, self.lines[phase]):
                os.kill(os.getpid(), self._blow[2])
        return self._follow


def work(data_dir, name, blow):
    """Be a worker until told to stop; `blow` is (phase, line, signal number), or None."""
    data_dir = Path(data_dir)
    threading.settrace(Walk(blow, data_dir / f"{name}.json").trace)
    work_forever(data_dir=data_dir, with_parent=False)
