"""Entries about what was refused, and about sign-ins: many may come at once, so repeats are counted.

A refused act has no transaction of its own that an entry could be part of; it gets one here.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from gaugehouse.audit.repeats import Repeats
from gaugehouse.audit.trail import Trail
from gaugehouse.database import Database
from gaugehouse.errors import GaugehouseError

logger = structlog.get_logger()

# What only somebody with a right password or token does: who has one account must not hide what becomes of another's.
OF_EACH_ACTOR = frozenset({"login.accept", "token.refresh"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What makes two the same: the request is another each time."""

    trail: Trail
    action: str
    object_kind: str
    tried: str
    object_name: str | None


class Refusals:
    """Writes down what was refused, but no more than an attacker may write. Threads share it.

    Args:
        database: Where the entries are.
        clock: Monotonic seconds. [s]
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        # Of each action apart: a flood of wrong passwords must not hide who signed in meanwhile.
        self._repeats: defaultdict[tuple[str, str], Repeats] = defaultdict(Repeats)
        self._lock = threading.Lock()

    def note(
        self,
        trail: Trail,
        action: str,
        *,
        kind: str,
        tried: str,
        name: str | None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Write an entry, or count it with the one before.

        Args:
            trail: Who, and from where.
            action: One of `ACTIONS`.
            kind: Of what it was about.
            tried: What was asked for, as the caller gave it: tells repeats apart, and is not written down.
            name: What is written down of it.
            details: What else.

        Raises:
            Unavailable: The database is away.
        """
        same = _Kind(
            trail=replace(trail, request_id=None), action=action, object_kind=kind, tried=tried, object_name=name
        )
        with self._lock:
            whose = trail.actor if action in OF_EACH_ACTOR else ""
            admitted = self._repeats[action, whose].admit(same, self._clock())
        if admitted is None:
            return
        counted = {"repeats": admitted.repeats, "others": admitted.others}
        with self._database.transaction() as session:
            told = dict(details or {}) | {key: number for key, number in counted.items() if number}
            trail.tell(session, action, kind=kind, name=name, details=told)

    def settle(self, *, is_last: bool = False) -> None:
        """Write down the counts of those whose minute is over; what cannot be written is logged."""
        with self._lock:
            now_s = self._clock()
            over = [one for each in self._repeats.values() for one in each.settle(now_s, is_last=is_last)]
        if not over:
            return
        try:
            with self._database.transaction() as session:
                for same, repeats in over:
                    assert isinstance(same, _Kind)  # noqa: S101 - nothing else is counted here; narrows the type
                    same.trail.tell(
                        session, same.action, kind=same.object_kind, name=same.object_name, details={"repeats": repeats}
                    )
        except GaugehouseError as exc:
            logger.warning(
                "audit_repeats_lost", kinds=len(over), repeats=sum(count for _, count in over), code=exc.code
            )
