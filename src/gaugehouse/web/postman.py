"""Mail that a request causes goes out beside it: nobody waits for a mail server, nor learns from the wait."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore

import structlog
from fastapi import Request

log = structlog.get_logger(__name__)

MAX_WAITING = 100


class Postman:
    """Runs what sends mail, one after the other in a thread of its own; more than `max_waiting` are dropped."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._rooms = BoundedSemaphore(max_waiting)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="postman")

    def send(self, letter: Callable[[], object]) -> None:
        """Run `letter` soon; what becomes of it is in the log only."""
        if not self._rooms.acquire(blocking=False):
            log.warning("mail_dropped", waiting=MAX_WAITING)
            return
        self._thread.submit(self._run, letter)

    def wait(self) -> None:
        """Wait until all that was handed over so far has run; for tests and a stop."""
        self._thread.submit(lambda: None).result()

    def _run(self, letter: Callable[[], object]) -> None:
        try:
            letter()
        except Exception as exc:  # noqa: BLE001 - the next one must go out whatever this one is
            log.warning("mail_failed", error=type(exc).__name__)
        finally:
            self._rooms.release()


def postman_of(request: Request) -> Postman:
    """Return who sends the mail of this application; `create_app` put them there."""
    postman: Postman = request.app.state.postman
    return postman
