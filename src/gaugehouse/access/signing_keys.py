"""Keys that sign tokens: Ed25519, in the database, each followed by the next with overlap.

A new key is known for `ACTIVATION_S` before it signs, and every process looks at the keys once a second while it is
asked: so no process meets a token whose key it does not know. Should it, it looks once more, a few times a second at
most. An old key verifies until the last token that it can have signed has expired.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from gaugehouse.access.recent import RecentAnswers
from gaugehouse.access.sealing import Seal
from gaugehouse.access.tokens import ALGORITHM, Signature
from gaugehouse.database import Database, database_now
from gaugehouse.database.tables import SigningKey
from gaugehouse.errors import AlreadyExists, Unavailable

logger = structlog.get_logger()

ACTIVATION_S = 5.0  # every process has looked at the keys by then
OVERLAP_S = 60.0  # a process that hangs between its look at the keys and its signature
MISS_PERIOD_S = 0.2  # unknown names of keys can be made up by anyone
ALL_KEYS = "keys"
UNSEEN = {"synchronize_session": False}  # no row that is in memory is looked at again


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """The keys at one moment: all that verify, and the one that signs."""

    verifying: Mapping[str, Ed25519PublicKey]
    signing: Signature | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What a rotation did: the new key, when it begins to sign, until when those before verify (None: not at all)."""

    kid: str
    signs_from: datetime
    previous: tuple[str, ...]
    verifies_until: datetime | None


def rotate_signing_key(session: Session, *, secret: bytes, at_once: bool = False) -> Rotated:
    """Make a new key that signs in `ACTIVATION_S`; the one before verifies until its last token has expired.

    Args:
        session: An open transaction.
        secret: From `load_signing_secret`.
        at_once: Forget the keys before instead, which ends every token that they signed: for a key that was exposed.

    Raises:
        AlreadyExists: the key of the last rotation does not sign yet.
    """
    seal = Seal(secret)
    _drop_expired(session, seal)
    mine = SigningKey.sealed_by == seal.name
    rows = session.scalars(select(SigningKey).where(mine).order_by(SigningKey.signs_from).with_for_update()).all()
    now = session.execute(select(database_now())).scalar_one()
    if at_once:
        session.execute(delete(SigningKey).where(mine), execution_options=UNSEEN)
    elif any(row.signs_from > now for row in rows):
        raise AlreadyExists("the newest key does not sign yet; come again in a few seconds", code="rotation_under_way")
    longest_s = max((row.longest_lifetime_s for row in rows), default=0)
    signs_in_s = ACTIVATION_S if rows and not at_once else 0.0
    kid = _add_key(session, seal, longest_lifetime_s=longest_s, signs_in_s=signs_in_s)
    until = database_now(signs_in_s + longest_s + OVERLAP_S)
    if not at_once:
        session.execute(
            update(SigningKey)
            .where(mine, SigningKey.kid != kid, SigningKey.verifies_until.is_(None))
            .values(verifies_until=until),
            execution_options=UNSEEN,
        )
    kept = select(SigningKey.verifies_until).where(mine, SigningKey.kid != kid).order_by(SigningKey.signs_from.desc())
    return Rotated(
        kid=kid,
        signs_from=session.scalars(select(SigningKey.signs_from).where(SigningKey.kid == kid)).one(),
        previous=tuple(row.kid for row in rows),
        verifies_until=session.scalars(kept).first(),
    )


def _add_key(session: Session, seal: Seal, *, longest_lifetime_s: int, signs_in_s: float) -> str:
    key = Ed25519PrivateKey.generate()
    kid = _name_key(key.public_key())
    row = SigningKey(
        kid=kid,
        sealed=seal.close(key.private_bytes_raw(), name=kid),
        sealed_by=seal.name,
        longest_lifetime_s=longest_lifetime_s,
        signs_from=database_now(signs_in_s),
    )
    session.add(row)
    session.flush()
    return kid


def _drop_expired(session: Session, seal: Seal) -> None:
    expired = SigningKey.verifies_until <= database_now()
    mine = SigningKey.sealed_by == seal.name
    session.execute(delete(SigningKey).where(mine, expired), execution_options=UNSEEN)


class SigningKeys:
    """The keys of an installation as one process sees them. Shared by all threads.

    Args:
        db: Where they are.
        secret: From `load_signing_secret`; keys that another secret closed are not seen.
        lifetime_s: The longest that tokens of this process live. [s]
        clock: Monotonic seconds. [s]
    """

    def __init__(self, db: Database, secret: bytes, lifetime_s: int, clock: Callable[[], float]) -> None:
        self._db = db
        self._seal = Seal(secret)
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._rings: RecentAnswers[KeyRing] = RecentAnswers(clock)
        self._missing = threading.Lock()
        self._missed_at_s = -MISS_PERIOD_S
        self._is_announced = False

    @property
    def issuer(self) -> str:
        """The `iss` of all tokens of this installation."""
        return self._seal.issuer

    @property
    def are_recent(self) -> bool:
        """Whether `find` would answer without asking the database."""
        return self._rings.has(ALL_KEYS)

    def find(self, kid: str) -> Ed25519PublicKey | None:
        """Return the key of this name if it verifies; one that is unknown is looked for again."""
        key = self._recent().verifying.get(kid)
        return self._look_again(kid) if key is None else key

    def holds(self, kid: str, *, max_age_s: float | None = None) -> bool:
        """Say whether a key that was found before still verifies, by an answer at most so old [s]."""
        return kid in self._recent(max_age_s).verifying

    def _recent(self, max_age_s: float | None = None) -> KeyRing:
        return self._rings.find(ALL_KEYS, self._load, max_age_s=max_age_s)

    def _look_again(self, kid: str) -> Ed25519PublicKey | None:
        with self._missing:  # who waits here finds what the one before has found
            known = self._recent().verifying.get(kid)
            now_s = self._clock()
            if known is not None or now_s - self._missed_at_s < MISS_PERIOD_S:
                return known
            self._missed_at_s = now_s
            return self._rings.renew(ALL_KEYS, self._load).verifying.get(kid)

    def signature(self) -> Signature:
        """Return the key that signs now; the first process of an installation makes it."""
        ring = self._recent() if self._is_announced else self._announce()
        if ring.signing is None:
            ring = self._announce()
        if ring.signing is None:
            raise Unavailable("the key that signs tokens cannot be opened", code="no_signing_key")
        return ring.signing

    def _announce(self) -> KeyRing:
        """Make the first key, and write down how long tokens of this process live: rotations wait for them."""
        with self._db.transaction() as session:
            _drop_expired(session, self._seal)
            if self._read(session).signing is None:
                _add_key(session, self._seal, longest_lifetime_s=self._lifetime_s, signs_in_s=0.0)
            session.execute(
                update(SigningKey)
                .where(SigningKey.sealed_by == self._seal.name, SigningKey.longest_lifetime_s < self._lifetime_s)
                .values(longest_lifetime_s=self._lifetime_s),
                execution_options=UNSEEN,
            )
        self._is_announced = True
        return self._rings.renew(ALL_KEYS, self._load)

    def describe(self) -> dict[str, list[dict[str, str]]]:
        """Return all public keys that verify, as a JWK set (RFC 7517, RFC 8037)."""
        ring = self._recent()
        return {
            "keys": [
                {**_describe_key(key), "kid": kid, "use": "sig", "alg": ALGORITHM}
                for kid, key in ring.verifying.items()
            ]
        }

    def _load(self) -> KeyRing:
        with self._db.reading() as session:
            return self._read(session)

    def _read(self, session: Session) -> KeyRing:
        statement = (
            select(SigningKey, SigningKey.signs_from <= database_now())
            .where(
                SigningKey.sealed_by == self._seal.name,
                or_(SigningKey.verifies_until.is_(None), SigningKey.verifies_until > database_now()),
            )
            .order_by(SigningKey.signs_from, SigningKey.kid)
        )
        verifying: dict[str, Ed25519PublicKey] = {}
        signing: Signature | None = None
        for row, signs in session.execute(statement):
            plain = self._seal.open(row.sealed, name=row.kid)
            if plain is None:
                logger.error("signing_key_damaged", kid=row.kid)
                continue
            key = Ed25519PrivateKey.from_private_bytes(plain)
            verifying[row.kid] = key.public_key()
            if signs:
                signing = Signature(kid=row.kid, key=key, issuer=self.issuer)
        return KeyRing(verifying=verifying, signing=signing)


def _describe_key(key: Ed25519PublicKey) -> dict[str, str]:
    return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_bytes_raw())}


def _name_key(key: Ed25519PublicKey) -> str:
    """Return the thumbprint of a key. Source: RFC 7638, 3; RFC 8037, 2."""
    members = json.dumps(_describe_key(key), separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(members.encode()).digest())


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
