"""Answers of the database that may be a moment old: each request asks who is calling, few of them find a change."""

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

Answer = TypeVar("Answer")
Key = TypeVar("Key")

MAX_AGE_S = 1.0  # a revocation, a disabled user or a changed role must hold after one second (ASVS 7.4.2, 8.3.2)
MAX_ENTRIES = 10_000  # well-formed keys can be made up by anyone


class RecentAnswers(Generic[Answer]):
    """Remembers answers for `max_age_s`, counted from before the question was asked.

    Args:
        clock: Monotonic seconds. [s]
        max_age_s: How old an answer may be. [s]
        max_entries: How many are remembered.
    """

    def __init__(
        self, clock: Callable[[], float], *, max_age_s: float = MAX_AGE_S, max_entries: int = MAX_ENTRIES
    ) -> None:
        self._clock = clock
        self._max_age_s = max_age_s
        self._max_entries = max_entries
        self._answers: dict[object, tuple[float, Answer]] = {}
        self._lock = threading.Lock()

    def find(self, question: object, ask: Callable[[], Answer], *, max_age_s: float | None = None) -> Answer:
        """Return a recent answer, or ask now. Threads that miss together ask together; none waits for another.

        Args:
            question: What is asked.
            ask: Answers it.
            max_age_s: How old the answer may be for this once, if less than usual. [s]
        """
        known = self._recent(question, max_age_s)
        return self.renew(question, ask) if known is None else known[1]

    def has(self, question: object) -> bool:
        """Say whether `find` would answer without asking."""
        return self._recent(question) is not None

    def _recent(self, question: object, max_age_s: float | None = None) -> tuple[float, Answer] | None:
        limit_s = self._max_age_s if max_age_s is None else min(max_age_s, self._max_age_s)
        with self._lock:
            known = self._answers.get(question)
        return known if known is not None and self._clock() - known[0] < limit_s else None

    def renew(self, question: object, ask: Callable[[], Answer]) -> Answer:
        """Ask now, and remember the answer."""
        asked_s = self._clock()
        answer = ask()
        self._remember(asked_s, {question: answer})
        return answer

    def renew_all(self, ask: Callable[[], Mapping[Key, Answer]]) -> Mapping[Key, Answer]:
        """Ask many questions at once, now, and remember the answers by question."""
        asked_s = self._clock()
        answers = ask()
        self._remember(asked_s, answers)
        return answers

    def _remember(self, asked_s: float, answers: Mapping[Key, Answer]) -> None:
        with self._lock:
            for question, answer in answers.items():
                self._answers.pop(question, None)  # to the end: the first entry is always the oldest
                self._answers[question] = (asked_s, answer)
            while len(self._answers) > self._max_entries:
                del self._answers[next(iter(self._answers))]
