"""API keys of devices and scripts: `ghk_` + 30 random base62 characters + 6 that check them.

The check characters let a typo, or a scan for leaked secrets, be judged without a database (as GitHub's tokens do).
"""

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.access.caller import DEFAULT_KEY_SCOPES, KEY_SCOPES, Scope
from gaugehouse.access.users import get_project
from gaugehouse.database import database_now, new_id
from gaugehouse.database.ids import BASE62, random_base62
from gaugehouse.database.tables import ApiKey
from gaugehouse.errors import NotFound, Refused
from gaugehouse.measurements.names import find_name_problem

KEY_PATTERN = re.compile(r"ghk_[0-9A-Za-z]{36}")
SECRET_CHARACTERS = 30  # 178 bits
CHECK_CHARACTERS = 6
SHOWN_CHARACTERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyView:
    """What can be told about a key after it was shown once."""

    id: str
    name: str
    shown: str
    component: str | None
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def make_key() -> str:
    """Return a new key."""
    secret = random_base62(SECRET_CHARACTERS)
    return f"ghk_{secret}{_check_characters(secret)}"


def is_well_formed_key(key: str) -> bool:
    """Return whether a text can be a key at all: its pattern and its check characters agree."""
    if not KEY_PATTERN.fullmatch(key):
        return False
    secret = key[4 : 4 + SECRET_CHARACTERS]
    return key[-CHECK_CHARACTERS:] == _check_characters(secret)


def hash_key(key: str) -> str:
    """Return what is stored of a key. A plain hash is enough above 112 random bits (ASVS 6.5.2)."""
    return hashlib.sha256(key.encode("ascii")).hexdigest()


def create_api_key(
    session: Session,
    *,
    name: str,
    project: str,
    component: str | None = None,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> str:
    """Store a new key and return it, for the only time.

    Args:
        session: An open transaction.
        name: What people call it.
        project: Slug of its project.
        component: Name of the one component it is bound to; it need not exist yet.
        scopes: Of `KEY_SCOPES`; none means to write and read measurements and events.
        expires_at: When it ends by itself.

    Raises:
        NotFound: there is no such project.
        Refused: a scope that keys cannot hold, or a bad name.
    """
    _check_names(name, component)
    key = make_key()
    session.add(
        ApiKey(
            id=new_id("key"),
            project_id=get_project(session, project).id,
            name=name,
            key_hash=hash_key(key),
            shown=key[:SHOWN_CHARACTERS],
            component=component,
            scopes=[scope.value for scope in _read_scopes(scopes, component)],
            expires_at=expires_at,
        )
    )
    session.flush()
    return key


def revoke_api_key(session: Session, project_id: str, key_id: str) -> None:
    """End a key; it is refused everywhere within a second."""
    row = session.scalars(select(ApiKey).where(ApiKey.id == key_id, ApiKey.project_id == project_id)).one_or_none()
    if row is None:
        raise NotFound("there is no such API key", code="api_key_not_found")
    if row.revoked_at is None:
        row.revoked_at = session.scalar(select(database_now()))


def find_api_keys(session: Session, project_id: str) -> list[ApiKeyView]:
    """Return all keys of a project, the newest first."""
    rows = session.scalars(
        select(ApiKey).where(ApiKey.project_id == project_id).order_by(ApiKey.created_at.desc(), ApiKey.id)
    )
    return [
        ApiKeyView(
            id=row.id,
            name=row.name,
            shown=row.shown,
            component=row.component,
            scopes=tuple(Scope(scope) for scope in row.scopes),
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )
        for row in rows
    ]


def _check_names(name: str, component: str | None) -> None:
    for label, text in (("name of a key", name), ("component of a key", component)):
        problem = find_name_problem(text) if text is not None else None
        if problem is not None:
            raise Refused(f"the {label} {problem}", code="name_refused")


def _read_scopes(scopes: Sequence[str], component: str | None) -> list[Scope]:
    asked = {str(scope) for scope in scopes} or {scope.value for scope in DEFAULT_KEY_SCOPES}
    refused = sorted(asked - {scope.value for scope in KEY_SCOPES})
    if refused:
        raise Refused(f"an API key cannot hold the scope {refused[0]!r}", code="scope_refused")
    if component is not None and Scope.REPORTS_READ.value in asked:
        raise Refused("a key of one component cannot read reports, which cover many", code="scope_refused")
    return [scope for scope in Scope if scope.value in asked]


def _check_characters(secret: str) -> str:
    number = zlib.crc32(secret.encode("ascii"))
    characters = []
    for _ in range(CHECK_CHARACTERS):
        number, digit = divmod(number, len(BASE62))
        characters.append(BASE62[digit])
    return "".join(reversed(characters))
