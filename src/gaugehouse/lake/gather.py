"""Small deliveries that come at the same time share one claim, one log record and one sync.

One thread writes down all that have come while it was busy with those before; another asks files about late rows, so
that nobody else waits for that. Alone a delivery waits for nobody; among many each costs a fraction of its own record.
"""

import copy
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from gaugehouse.errors import Unavailable
from gaugehouse.lake.groups import Appended, Delivery, Waiting
from gaugehouse.lake.sequencer import Sequencer
from gaugehouse.tracing import note

DELIVERIES_TOGETHER = 512  # one group commit stays short, however many wait
ROWS_TOGETHER = 65_536  # and its claim keeps the sequencer's lock for a tenth of a second

OnDone = Callable[[Appended | BaseException], None]


@dataclass(slots=True, kw_only=True)
class _Submitted(Waiting):
    """A delivery of somebody who wants to be told."""

    project: str
    on_done: OnDone
    sync_wait_s: float = 0.0


Arrivals = SimpleQueue[_Submitted | None]


class Gather:
    """Takes small deliveries from any thread and puts them through the sequencer in groups."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._arrived: Arrivals = SimpleQueue()
        self._late: Arrivals = SimpleQueue()
        self._is_closed = False
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to write."""
        for name, run in (("lake-writer", self._write), ("lake-lookup", self._look_up)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, project: str, delivery: Delivery, on_done: OnDone) -> _Submitted:
        """Take a delivery; `on_done` is called once, in the writing thread, and must be quick.

        Raises:
            Unavailable: the lake is closing.
        """
        with self._lock:  # nothing may come behind the mark that ends the threads
            if self._is_closed:
                raise Unavailable("the lake is closing; nothing of this request was stored", retry_after_s=5)
            submitted = _Submitted(delivery=delivery, project=project, on_done=on_done)
            self._arrived.put(submitted)
        return submitted

    def append(self, project: str, delivery: Delivery) -> Appended:
        """Store what is new of a delivery; return once it is durable. Raises as the sequencer does."""
        answers: SimpleQueue[Appended | BaseException] = SimpleQueue()
        submitted = self.submit(project, delivery, answers.put)
        outcome = answers.get()
        note(sync_wait_s=submitted.sync_wait_s)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def close(self) -> None:
        """Refuse further deliveries, and settle those that are here."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        # Late ones go back to the writer, so it ends last.
        for queue, thread in zip((self._late, self._arrived), reversed(self._threads), strict=True):
            queue.put(None)
            thread.join()

    def _write(self) -> None:
        for arrived in _groups(self._arrived):
            by_project: dict[str, list[_Submitted]] = {}
            for one in arrived:
                if one.outcome is None:  # no look into the files has failed
                    by_project.setdefault(one.project, []).append(one)
            position = max((self._write_group(project, several) for project, several in by_project.items()), default=0)
            started_s = time.perf_counter()
            try:
                self._sequencer.log.wait_durable(position)
            except BaseException as exc:  # noqa: BLE001 - handed to everybody who waits
                _fail(arrived, exc)
            sync_wait_s = time.perf_counter() - started_s
            for one in arrived:
                one.sync_wait_s = sync_wait_s
                if one.outcome is not None:
                    one.on_done(one.outcome)
                elif not self._ask_files(one):
                    one.on_done(Unavailable("the lake is closing; nothing of this request was stored", retry_after_s=5))

    def _ask_files(self, one: _Submitted) -> bool:
        """Let the other thread look into the files for a delivery; False when that has been told to end."""
        with self._lock:  # nothing may come behind the mark that ends it
            if not self._is_closed:
                self._late.put(one)
            return not self._is_closed

    def _write_group(self, project: str, several: Sequence[_Submitted]) -> int:
        try:
            return self._sequencer.write_group(project, several)
        except BaseException as exc:  # noqa: BLE001 - handed to those who wait; the writer goes on for the others
            _fail([one for one in several if one.outcome is None], exc)
        # Some may have been written one by one before the failure, wherever they ended: wait for all that is written.
        return self._sequencer.log.written

    def _look_up(self) -> None:
        for arrived in _groups(self._late):
            try:
                self._sequencer.look_up(arrived)
            except BaseException:  # noqa: BLE001 - whose rows it is about shows when each asks alone
                for one in arrived:
                    self._look_up_alone(one)
            for one in arrived:
                self._arrived.put(one)

    def _look_up_alone(self, one: _Submitted) -> None:
        try:
            self._sequencer.look_up([one])
        except BaseException as exc:  # noqa: BLE001 - handed to the one who waits
            one.question = None
            one.outcome = exc


def _groups(queue: Arrivals) -> Iterator[list[_Submitted]]:
    """Yield what has come, in order and some of it at a time, until the mark that ends it."""
    while True:
        first = queue.get()
        if first is None:
            return
        group, rows = [first], len(first.delivery)
        is_last = False
        while len(group) < DELIVERIES_TOGETHER and rows < ROWS_TOGETHER and not is_last and not queue.empty():
            following = queue.get()
            if following is None:
                is_last = True
            else:
                group.append(following)
                rows += len(following.delivery)
        yield group
        if is_last:
            return


def _fail(several: Sequence[_Submitted], error: BaseException) -> None:
    """Give each its own copy: one that is raised by several threads collects the tracebacks of all."""
    for one in several:
        one.question = None
        one.outcome = copy.copy(error)
