"""Passwords: argon2id, few hashes at once, rules without composition games (ASVS 5.0: 6.2, 11.4.2)."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from gaugehouse.access.common_passwords import find_common_part
from gaugehouse.errors import Refused, Throttled

MIN_CHARACTERS = 12
MAX_CHARACTERS = 256
SERVICE_NAME = "gaugehouse"
CONCURRENT_HASHES = 2  # 19 MiB and 30 ms each: logins must not take the machine from ingestion
HASH_WAIT_S = 5.0

_hashing = PasswordHash((Argon2Hasher(memory_cost=19_456, time_cost=2, parallelism=1),))
_turns = threading.BoundedSemaphore(CONCURRENT_HASHES)


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=HASH_WAIT_S):
        raise Throttled("too many logins at once; try again", retry_after_s=int(HASH_WAIT_S))
    try:
        yield
    finally:
        _turns.release()


def check_password(password: str, *, user_name: str) -> None:
    """Refuse a password that is too short, too long, not text, or among the first that anybody tries.

    Any characters count, as they are: there are no rules what a password must be made of (ASVS 6.2.5, 6.2.8).

    Raises:
        Refused: `password_refused` for what it is, `password_common` for what others have chosen as well.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise Refused(f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters", code="password_refused")
    if not _is_text(password):
        raise Refused("a password must be text that UTF-8 can carry", code="password_refused")
    problem = find_common_part(password, names=(user_name, SERVICE_NAME))
    if problem is not None:
        raise Refused(f"this password {problem}; choose one that nobody can guess", code="password_common")


def hash_password(password: str) -> str:
    """Return the salted argon2id hash of a password."""
    with _turn():
        return _hashing.hash(password)


def verify_password(password: str, password_hash: str) -> tuple[bool, str | None]:
    """Return whether a password is right and, when the stored hash is of older parameters, the hash to store."""
    if len(password) > MAX_CHARACTERS or not _is_text(password):
        password = ""  # cannot be anybody's, and shall cost neither less nor more than any other wrong one
    with _turn():
        try:
            return _hashing.verify_and_update(password, password_hash)
        except UnknownHashError:
            return False, None


def _is_text(password: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in password)
