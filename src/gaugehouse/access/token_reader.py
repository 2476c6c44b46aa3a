"""Reads tokens, and remembers those that were genuine: a signature takes 0.3 ms to check, and each comes again."""

import hashlib
import threading
import time

from gaugehouse.access.signing_keys import SigningKeys
from gaugehouse.access.tokens import LEEWAY_S, MAX_TOKEN_BYTES, Claims, GenuineToken, read_token, refuse_token

MAX_REMEMBERED = 10_000


class TokenReader:
    """Shared by all threads.

    Args:
        keys: Which keys verify.
        max_lifetime_s: Tokens that live longer are none of ours. [s]
        max_remembered: Genuine tokens, by their hash; the oldest is forgotten first.
    """

    def __init__(self, keys: SigningKeys, *, max_lifetime_s: int, max_remembered: int = MAX_REMEMBERED) -> None:
        self._keys = keys
        self._max_lifetime_s = max_lifetime_s
        self._max_remembered = max_remembered
        self._genuine: dict[bytes, GenuineToken] = {}
        self._lock = threading.Lock()

    def find_known(self, token: str) -> Claims | None:
        """Return what a token says if that is known without a question to the database or a look at its signature.

        Raises:
            Unauthenticated: it is too long for a token, or no text of one.
        """
        return self._find(_hash_token(token)) if self._keys.are_recent else None

    def read(self, token: str, *, max_age_s: float | None = None) -> Claims:
        """Return what a genuine, current token says, by keys as they were at most so long ago [s].

        Raises:
            Unauthenticated: anything else.
        """
        digest = _hash_token(token)
        known = self._find(digest, max_age_s)
        if known is not None:
            return known
        genuine = read_token(
            token, issuer=self._keys.issuer, find_key=self._keys.find, max_lifetime_s=self._max_lifetime_s
        )
        with self._lock:
            self._genuine[digest] = genuine
            while len(self._genuine) > self._max_remembered:
                del self._genuine[next(iter(self._genuine))]
        return genuine.claims

    def _find(self, digest: bytes, max_age_s: float | None = None) -> Claims | None:
        with self._lock:
            genuine = self._genuine.get(digest)
        if genuine is None or time.time() >= genuine.expires_at_s + LEEWAY_S:
            return None
        return genuine.claims if self._keys.holds(genuine.kid, max_age_s=max_age_s) else None


def _hash_token(token: str) -> bytes:
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise refuse_token()
    return hashlib.sha256(token.encode("ascii")).digest()
