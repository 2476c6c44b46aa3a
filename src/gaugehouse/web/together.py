"""Questions of requests that come together, asked together: a fleet's devices come once a minute each, all at once.

For the short ways, which run in the event loop and let no request have a thread or a question of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

import structlog

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

QUESTIONS_AT_ONCE = 500
SUMMARY_PERIOD_S = 1.0

log = structlog.get_logger(__name__)


class Together(Generic[Question, Answer]):
    """Asks for many at once: while one round is under way, the next one grows.

    A round each would be nearly all that the server does: of a fleet nobody's answer is known any more when it comes.

    Args:
        ask: Answers questions; one that it leaves out has no answer. Must not raise.
    """

    def __init__(self, ask: Callable[[Sequence[Question]], Awaitable[Mapping[Question, Answer]]]) -> None:
        self._ask = ask
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[Question, None] = {}
        self._answered: dict[Question, asyncio.Future[Answer | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    def put(self, question: Question) -> "asyncio.Future[Answer | None]":
        """Return what will hold the answer; shared by all who asked before it came, so do not cancel it."""
        self._begin_anew_in(asyncio.get_running_loop())
        answered = self._answered.get(question)
        if answered is None:
            answered = self._answered[question] = asyncio.get_running_loop().create_future()
            self._waiting[question] = None
            self._go_on()
        return answered

    def _begin_anew_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what belongs to an event loop that runs no more."""
        if self._loop is not loop:
            self._loop, self._waiting, self._answered, self._asking = loop, {}, {}, None

    def _go_on(self, ended: "asyncio.Task[None] | None" = None) -> None:
        if ended is not None and ended is not self._asking:
            return  # of a loop before
        assert self._loop is not None  # noqa: S101 - a question was put; narrows the type
        if self._waiting and (self._asking is None or self._asking.done()) and not self._loop.is_closed():
            self._asking = self._loop.create_task(self._ask_next())
            self._asking.add_done_callback(self._go_on)

    async def _ask_next(self) -> None:
        asked = list(islice(self._waiting, QUESTIONS_AT_ONCE))
        for question in asked:
            del self._waiting[question]
        answers: Mapping[Question, Answer] = {}
        try:
            answers = await self._ask(asked)
        finally:
            for question in asked:
                self._answered.pop(question).set_result(answers.get(question))


class Summary:
    """One line in the log for the short requests of a second: a line each would turn the log over in a minute.

    Args:
        event: What the line is called.
    """

    def __init__(self, event: str) -> None:
        self._event = event
        self._count = 0
        self._counted: dict[str, int] = {}
        self._longest_s = 0.0

    def add(self, duration_s: float, **counted: int) -> None:
        """Count one request, and how much it was about."""
        if self._count == 0:
            asyncio.get_running_loop().call_later(SUMMARY_PERIOD_S, self._write)
        self._count += 1
        for name, more in counted.items():
            self._counted[name] = self._counted.get(name, 0) + more
        self._longest_s = max(self._longest_s, duration_s)

    def _write(self) -> None:
        log.info(self._event, count=self._count, **self._counted, longest_duration_s=round(self._longest_s, 6))
        self._count, self._counted, self._longest_s = 0, {}, 0.0
