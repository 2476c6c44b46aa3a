"""How many questions about rows are worked on at once, and how many of their answers may be under way.

A question for a million rows takes 150 MB until its first byte and most of that until its last; a hundred at once took
6 GB, and with forty threads after the interpreter's lock no device was acknowledged within a minute.
"""

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gaugehouse.errors import Overloaded
from gaugehouse.web.problems import write_error

WORKED_ON_AT_ONCE = 4  # from the question to the first byte of its answer; others wait
UNDER_WAY_AT_ONCE = 12  # at the pace of their readers, who may be slow; others are told to come again,
WAITING_AT_ONCE = 16  # and so is whoever finds so many waiting
ROWS_PATHS = ("/measurements", "/events", "/summary", "/history", "/cumulative-count")


class ReadGate:
    """Pure ASGI middleware round the endpoints that read rows.

    Args:
        app: What is behind it.
        worked_on, under_way: How many at once, see above.
    """

    def __init__(self, app: ASGIApp, *, worked_on: int = WORKED_ON_AT_ONCE, under_way: int = UNDER_WAY_AT_ONCE) -> None:
        self._app = app
        self._working = anyio.CapacityLimiter(worked_on)
        self._under_way_limit = under_way
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].endswith(ROWS_PATHS):
            await self._app(scope, receive, send)
            return
        if self._working.statistics().tasks_waiting >= WAITING_AT_ONCE:
            await _refuse(scope, receive, send)
            return
        question = object()
        await self._working.acquire_on_behalf_of(question)
        is_working = True

        def rest() -> None:
            nonlocal is_working
            if is_working:
                is_working = False
                self._working.release_on_behalf_of(question)

        async def begin(message: Message) -> None:
            rest()
            await send(message)

        try:
            await self._answer(scope, receive, begin)
        finally:
            rest()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._under_way >= self._under_way_limit:
            await _refuse(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    refusal = Overloaded("too many answers with rows are under way; try again in a second", retry_after_s=1)
    await write_error(scope, refusal)(scope, receive, send)
