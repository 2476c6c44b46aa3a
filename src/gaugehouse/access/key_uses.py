"""When keys were last used: noted in memory by every request, written down at most once a minute per key."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import bindparam, or_, update

from gaugehouse.database import Database
from gaugehouse.database.tables import Base

WRITE_EVERY_S = 60.0
MAX_KEYS = 10_000  # of which a use waits to be written, or was written within the minute
KEYS = Base.metadata.tables["api_keys"]


class KeyUses:
    """Notes uses of keys without waiting for anything; another thread writes them down.

    Args:
        clock: Monotonic seconds. [s]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, datetime] = {}
        self._written_s: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, key_id: str) -> None:
        """Remember that a key is used now; never blocks."""
        if key_id in self._waiting or len(self._waiting) < MAX_KEYS:
            self._waiting[key_id] = datetime.now(UTC)

    def write(self, database: Database, *, is_last: bool = False) -> int:
        """Write down what waits, but no key twice a minute; return how many keys.

        What cannot be written waits for the next time.

        Args:
            database: Where the keys are.
            is_last: Nobody comes after this: leave nothing.

        Raises:
            Unavailable: the database is away.
        """
        with self._lock:  # one writer at a time; who notes does not wait for it
            now_s = self._clock()
            self._written_s = {key: at_s for key, at_s in self._written_s.items() if now_s - at_s < WRITE_EVERY_S}
            due = sorted(key for key in list(self._waiting) if is_last or key not in self._written_s)
            if not due:
                return 0
            rows = [{"key_id": key, "used_at": self._waiting[key]} for key in due]
            statement = (
                update(KEYS)
                .where(KEYS.c.id == bindparam("key_id"))
                .where(or_(KEYS.c.last_used_at.is_(None), KEYS.c.last_used_at < bindparam("used_at")))
                .values(last_used_at=bindparam("used_at"))
            )
            with database.transaction() as session:
                session.execute(statement, rows)
            for row in rows:
                key = str(row["key_id"])
                self._written_s[key] = now_s
                if self._waiting.get(key) == row["used_at"]:  # else it was used again meanwhile
                    del self._waiting[key]
            return len(rows)
