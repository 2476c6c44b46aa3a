"""Which secrets have counted, and which keys there are: whoever shows another one may be making them up.

A Bloom filter (Bloom 1970): never "no" for one that was added, "yes" by mistake for 1 of 1,700 others when a million
were. Memory is the same for one secret and for ten million; nothing is forgotten before the end of the process. Who
guesses cannot fill it, for only what is in the database is added.
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import select

from gaugehouse.access.secret_text import hash_secret
from gaugehouse.database import Database
from gaugehouse.database.tables import ApiKey

BITS = 1 << 25  # 4 MiB
PLACES = 3  # of one secret
PLACE_BITS = BITS.bit_length() - 1
LOOK_PERIOD_S = 2.0
LONGEST_TRANSACTION = timedelta(minutes=1)  # of who makes keys: they are dated before others can see them
KEYS_AT_ONCE = 10_000


class MetSecrets:
    """API keys, cookies and refresh tokens. Shared by all threads; who asks `has` waits for nobody.

    Args:
        database: Where the keys are.
        clock: Monotonic seconds. [s]
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._bits = bytearray(BITS // 8)
        self._adding = threading.Lock()
        self._looking = threading.Lock()
        self._looked_s: float | None = None  # when the database was last asked for new keys, by our clock
        self._looked_at: datetime | None = None  # and by its own: all older keys are met

    def has(self, secret: str) -> bool:
        """Say whether a secret was met. Who shows another one is to be counted before the database is asked."""
        return secret.isascii() and self._has(hash_secret(secret))

    def add(self, secret_hash: str) -> None:
        """Meet a secret, by what is stored of it."""
        if self._has(secret_hash):  # nearly always
            return
        with self._adding:
            for place in _places(secret_hash):
                self._bits[place >> 3] |= 1 << (place & 7)

    def _has(self, secret_hash: str) -> bool:
        return all(self._bits[place >> 3] >> (place & 7) & 1 for place in _places(secret_hash))

    @property
    def may_find_keys(self) -> bool:
        """Whether `look_for_keys` would ask the database."""
        return self._looked_s is None or self._clock() - self._looked_s >= LOOK_PERIOD_S

    def look_for_keys(self) -> None:
        """Meet all keys that there are by now, whoever made them; asks at most every `LOOK_PERIOD_S`. Blocks.

        To be called when an address that makes up keys shows one that was never met: it may be a good one, of a device
        beside the guesser. One question is all that any number of guesses costs.
        """
        if not self._looking.acquire(blocking=False):  # somebody looks right now: what is new is met in a moment
            return
        try:
            if self.may_find_keys:
                self._looked_s = self._clock()
                self._look()
        finally:
            self._looking.release()

    def _look(self) -> None:
        statement = select(ApiKey.key_hash).where(ApiKey.revoked_at.is_(None))
        if self._looked_at is not None:
            statement = statement.where(ApiKey.created_at >= self._looked_at)
        with self._database.reading() as session:
            now = self._database.now(session)
            for key_hash in session.scalars(statement.execution_options(yield_per=KEYS_AT_ONCE)):
                self.add(key_hash)
        self._looked_at = now - LONGEST_TRANSACTION


def _places(secret_hash: str) -> list[int]:
    number = int(secret_hash[:24], 16)
    return [number >> (turn * PLACE_BITS) & (BITS - 1) for turn in range(PLACES)]
