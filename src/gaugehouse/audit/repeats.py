"""How often the same refusal is written down: whoever tries a million passwords leaves a number, no full disk. Pure."""

from collections.abc import Hashable
from dataclasses import dataclass

WINDOW_S = 60.0
BURST_ENTRIES = 60
ENTRIES_PER_S = 1 / 6  # ten a minute are 14,400 a day: 7 MB
KEYS_REMEMBERED = 1_024


@dataclass(slots=True, kw_only=True)
class _Seen:
    written_s: float
    repeats: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Leave to write an entry, and what it is to tell of those that were only counted since the one before.

    Args:
        repeats: Of the same kind.
        others: Of kinds that got no entry of their own, because there were too many.
    """

    repeats: int = 0
    others: int = 0


class Repeats:
    """Admits the first of a kind at once, then one a minute with the count of those between; few of all kinds together.

    Not safe for threads by itself.
    """

    def __init__(self) -> None:
        self._seen: dict[Hashable, _Seen] = {}
        self._others = 0
        self._allowance = float(BURST_ENTRIES)
        self._asked_s: float | None = None

    def admit(self, kind: Hashable, now_s: float) -> Admitted | None:
        """Return leave to write this one down, None when it is only counted.

        Args:
            kind: What makes two the same.
            now_s: Monotonic. [s]
        """
        self._refill(now_s)
        seen = self._seen.get(kind)
        if seen is not None and now_s - seen.written_s < WINDOW_S:
            seen.repeats += 1
            return None
        if self._allowance < 1.0:
            self._others += 1
            return None
        self._allowance -= 1.0
        self._seen.pop(kind, None)  # the newest are last, so the oldest are forgotten first
        self._seen[kind] = _Seen(written_s=now_s)
        self._forget_oldest()
        others, self._others = self._others, 0
        return Admitted(repeats=0 if seen is None else seen.repeats, others=others)

    def settle(self, now_s: float, *, is_last: bool = False) -> list[tuple[Hashable, int]]:
        """Return what was counted and whose minute is over, with the counts; it is counted no more.

        Args:
            now_s: Monotonic. [s]
            is_last: Of all minutes, over or not: nobody will ask again.
        """
        over = [
            kind
            for kind, seen in self._seen.items()
            if seen.repeats and (is_last or now_s - seen.written_s >= WINDOW_S)
        ]
        return [(kind, self._seen.pop(kind).repeats) for kind in over]

    def _refill(self, now_s: float) -> None:
        if self._asked_s is not None:
            self._allowance = min(BURST_ENTRIES, self._allowance + (now_s - self._asked_s) * ENTRIES_PER_S)
        self._asked_s = now_s

    def _forget_oldest(self) -> None:
        while len(self._seen) > KEYS_REMEMBERED:
            oldest = next(iter(self._seen))
            self._others += self._seen.pop(oldest).repeats
