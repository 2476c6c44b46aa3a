"""API keys of devices, programs and members: `ghk_` + 30 random base62 characters + 6 that check them.

The check characters let a typo, or a scan for leaked secrets, be judged without a database (as GitHub's tokens do).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gaugehouse.access.caller import (
    DEFAULT_KEY_SCOPES,
    DEVICE_KEY_SCOPES,
    KEY_SCOPES,
    PROJECT_SCOPES,
    READING_SCOPES,
    ROLE_SCOPES,
    WRITING_SCOPES,
    Role,
    Scope,
    has_scope,
)
from gaugehouse.access.secret_text import hash_secret, is_well_formed, make_secret
from gaugehouse.access.users import get_project
from gaugehouse.database import database_now, new_id
from gaugehouse.database.pages import Page, load_page, read_order
from gaugehouse.database.tables import ApiKey, Membership, User
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.measurements.names import find_name_problem

KEY_PREFIX = "ghk_"
SHOWN_CHARACTERS = 8
MAX_PERSONAL_KEYS = 50  # that count, of one member in one project
LONGEST_OVERLAP_S = 30 * 86_400
LONGEST_LIFE = timedelta(days=36_500)  # the end of the calendar cannot be told in every zone
SORT_COLUMNS = {"created_at": ApiKey.created_at, "name": ApiKey.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyView:
    """What can be told about a key after it was shown once.

    Args:
        shown: Its first characters.
        component: The one component that it is bound to, by name.
        owner: Name of the member whose personal key it is.
        last_used_at: To the minute; what a killed server did not write down is missing.
        successor_id: The key that it was replaced by.
    """

    id: str
    name: str
    shown: str
    component: str | None
    owner: str | None
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    successor_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """A key to make.

    Args:
        name: What people call it.
        component: Name of the one component it is bound to; it need not exist yet.
        scopes: Of `KEY_SCOPES`. None given means: reading measurements and events, and writing them; a key of one
            component writes, and reads its own status and firmware target; one that is read-only reads.
        is_read_only: It must not write, whatever its scopes.
        expires_at: When it ends by itself.
    """

    name: str
    component: str | None = None
    scopes: Sequence[str] = ()
    is_read_only: bool = False
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeApiKey:
    """A new key: `key` is shown now and never again."""

    key: str
    view: ApiKeyView


def make_key() -> str:
    """Return a new key."""
    return make_secret(KEY_PREFIX)


def is_well_formed_key(key: str) -> bool:
    """Return whether a text can be a key at all: its pattern and its check characters agree."""
    return is_well_formed(key, KEY_PREFIX)


def add_api_key(session: Session, new: NewApiKey, *, project_id: str, owner_id: str | None = None) -> MadeApiKey:
    """Store a new key and return it, for the only time.

    Args:
        session: An open transaction.
        new: What it is to be.
        project_id: Of its project.
        owner_id: Of the member whose personal key it is; it never may more than they do.

    Raises:
        Refused: a bad name, an expiry that is past, or a scope that keys cannot hold, or not this one.
        NotFound: the owner is no member of the project.
        AlreadyExists: the owner has too many (`too_many_keys`).
    """
    now = session.scalars(select(database_now())).one()
    scopes = check_new_key(new, now)
    if owner_id is not None:
        _check_owner(session, project_id, owner_id, scopes)
    key = make_key()
    row = ApiKey(
        id=new_id("key"),
        project_id=project_id,
        owner_id=owner_id,
        name=new.name,
        key_hash=hash_secret(key),
        shown=key[:SHOWN_CHARACTERS],
        component=new.component,
        scopes=[scope.value for scope in scopes],
        created_at=now,
        expires_at=new.expires_at,
    )
    session.add(row)
    session.flush()
    return MadeApiKey(key=key, view=_view(session, row))


def check_new_key(new: NewApiKey, now: datetime) -> list[Scope]:
    """Return the scopes that a key would hold.

    Raises:
        Refused: a bad name, an expiry that is past, or a scope that keys cannot hold, or not this one.
    """
    check_key_names(new.name, new.component)
    scopes = _read_scopes(new)
    if new.expires_at is not None and not now < new.expires_at < now + LONGEST_LIFE:
        raise Refused("expires_at must be later than now, and within a century; or none", code="expiry_refused")
    return scopes


def check_key_names(name: str, component: str | None) -> None:
    """Raise Refused for a name, of a key or of its component, that none can have."""
    for label, text in (("name of a key", name), ("component of a key", component)):
        problem = find_name_problem(text) if text is not None else None
        if problem is not None:
            raise Refused(f"the {label} {problem}", code="name_refused")


def create_api_key(
    session: Session,
    *,
    name: str,
    project: str,
    component: str | None = None,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> str:
    """Store a new key of a project, by its slug, and return it: `add_api_key` in short.

    Raises:
        NotFound: there is no such project.
        Refused: as `add_api_key`.
    """
    new = NewApiKey(name=name, component=component, scopes=scopes, expires_at=expires_at)
    return add_api_key(session, new, project_id=get_project(session, project).id).key


def rotate_api_key(
    session: Session, project_id: str, key_id: str, *, overlap_s: float, owner_id: str | None = None
) -> MadeApiKey:
    """Make a key that may what an older one may; the older one ends after the overlap.

    The new one ends when the older would have ended by itself.

    Args:
        session: An open transaction.
        project_id: Of the project.
        key_id: Of the older key.
        overlap_s: How long both count; 0 ends the older one at once. [s]
        owner_id: The member whose key it must be; None: a key of the project, nobody's personal one.

    Raises:
        NotFound: there is no such key, or it is not theirs.
        AlreadyExists: it ended, or was replaced before (`api_key_ended`).
        Refused: an overlap that is negative or too long.
    """
    if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
        raise Refused(f"overlap_s must be from 0 to {LONGEST_OVERLAP_S:,}", code="overlap_refused")
    row = _get_row(session, project_id, key_id, owner_id=owner_id)
    now = session.scalars(select(database_now())).one()
    is_over = row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now)
    if is_over or row.successor_id is not None:
        raise AlreadyExists("the key has ended or was replaced; make a new one", code="api_key_ended")
    new = NewApiKey(name=row.name, component=row.component, scopes=row.scopes, expires_at=row.expires_at)
    made = add_api_key(session, new, project_id=project_id, owner_id=row.owner_id)
    ends_at = now + timedelta(seconds=overlap_s)
    row.successor_id = made.view.id
    row.expires_at = ends_at if row.expires_at is None else min(row.expires_at, ends_at)
    if overlap_s == 0:
        row.revoked_at = now
    session.flush()
    return made


def revoke_api_key(session: Session, project_id: str, key_id: str, *, owner_id: str | None = None) -> ApiKeyView:
    """End a key; it is refused everywhere within a second.

    Args:
        session: An open transaction.
        project_id: Of the project.
        key_id: Of the key.
        owner_id: The member whose key it must be; None: any key of the project.

    Raises:
        NotFound: there is no such key, or it is not theirs.
    """
    row = _get_row(session, project_id, key_id, owner_id=owner_id, is_anyones=owner_id is None)
    if row.revoked_at is None:
        row.revoked_at = session.scalar(select(database_now()))
    session.flush()
    return _view(session, row)


def get_api_key(session: Session, project_id: str, key_id: str) -> ApiKeyView:
    """Return what can be told about a key of a project.

    Raises:
        NotFound: there is no such key.
    """
    return _view(session, _get_row(session, project_id, key_id, is_anyones=True, is_locked=False))


def find_api_keys(session: Session, project_id: str) -> list[ApiKeyView]:
    """Return all keys of a project, the newest first."""
    statement = select(ApiKey).where(ApiKey.project_id == project_id)
    return _views(session, session.scalars(statement.order_by(ApiKey.created_at.desc(), ApiKey.id)).all())


def load_api_keys(
    session: Session,
    project_id: str,
    *,
    owner_id: str | None = None,
    component: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[ApiKeyView]:
    """Return one page of the keys of a project, the newest first.

    Args:
        session: An open session.
        project_id: Of the project.
        owner_id: Only the personal keys of this member.
        component: Only those that are bound to this component.
        limit: Keys per page, at most 1000.
        cursor: `next_cursor` of the page before.
    """
    statement = select(ApiKey).where(ApiKey.project_id == project_id)
    if owner_id is not None:
        statement = statement.where(ApiKey.owner_id == owner_id)
    if component is not None:
        if find_name_problem(component) is not None:
            raise Refused("component is not a name", code="filter_refused")
        statement = statement.where(ApiKey.component == component)
    order = read_order("-created_at", SORT_COLUMNS, ApiKey.id)
    rows, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    return Page(items=tuple(_views(session, rows)), next_cursor=next_cursor, total=total)


def move_device_keys(session: Session, component: str, *, source_id: str, target_id: str) -> int:
    """Let the keys that are bound to a component follow it into another project; return how many.

    Personal keys stay: their owner need not be a member there.
    """
    statement = select(ApiKey).where(
        ApiKey.project_id == source_id,
        ApiKey.component == component,
        ApiKey.owner_id.is_(None),
        ApiKey.revoked_at.is_(None),
    )
    rows = session.scalars(statement).all()
    for row in rows:
        row.project_id = target_id
    session.flush()
    return len(rows)


def _get_row(
    session: Session,
    project_id: str,
    key_id: str,
    *,
    owner_id: str | None = None,
    is_anyones: bool = False,
    is_locked: bool = True,
) -> ApiKey:
    statement = select(ApiKey).where(ApiKey.id == key_id, ApiKey.project_id == project_id)
    if is_locked:  # against a second rotation of the same key
        statement = statement.with_for_update()
    row = None if find_name_problem(key_id) else session.scalars(statement).one_or_none()
    if row is None or not (is_anyones or row.owner_id == owner_id):
        raise NotFound("there is no such API key", code="api_key_not_found")
    return row


def _views(session: Session, rows: Sequence[ApiKey]) -> list[ApiKeyView]:
    owners = {row.owner_id for row in rows if row.owner_id is not None}
    named = session.scalars(select(User).where(User.id.in_(owners))).all() if owners else []
    names = {user.id: user.name for user in named}
    return [
        ApiKeyView(
            id=row.id,
            name=row.name,
            shown=row.shown,
            component=row.component,
            owner=None if row.owner_id is None else names[row.owner_id],
            scopes=tuple(Scope(scope) for scope in row.scopes),
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            last_used_at=row.last_used_at,
            successor_id=row.successor_id,
        )
        for row in rows
    ]


def _view(session: Session, row: ApiKey) -> ApiKeyView:
    (view,) = _views(session, [row])
    return view


def _read_scopes(new: NewApiKey) -> list[Scope]:
    standard = DEFAULT_KEY_SCOPES if new.component is None else DEVICE_KEY_SCOPES
    asked = {str(scope) for scope in new.scopes} or set(READING_SCOPES if new.is_read_only else standard)
    refused = sorted(asked - {scope.value for scope in KEY_SCOPES})
    if refused:
        raise Refused(f"an API key cannot hold the scope {refused[0]!r}", code="scope_refused")
    scopes = [scope for scope in Scope if scope.value in asked]
    for scope in scopes:
        if new.component is not None and scope in PROJECT_SCOPES:
            raise Refused(f"a key of one component cannot hold {scope}: reports cover many", code="scope_refused")
        if new.is_read_only and scope in WRITING_SCOPES:
            raise Refused(f"a read-only key cannot hold {scope}", code="scope_refused")
    return scopes


def _check_owner(session: Session, project_id: str, owner_id: str, scopes: Sequence[Scope]) -> None:
    # Locked: whoever ends the membership right now ends this key too, or it is not made.
    membership = session.get(Membership, (owner_id, project_id), with_for_update=True)
    owner = session.get(User, owner_id, with_for_update={"key_share": True}, populate_existing=True)
    if membership is None or owner is None or owner.disabled_at is not None:
        raise NotFound("the owner of a personal key must be a member of the project", code="membership_not_found")
    held = ROLE_SCOPES[Role(membership.role)]
    beyond = [scope for scope in scopes if not has_scope(held, scope)]
    if beyond:
        raise Refused(f"a {membership.role} may not {beyond[0]}, so no personal key of one may", code="scope_refused")
    statement = select(func.count()).where(
        ApiKey.owner_id == owner_id,
        ApiKey.project_id == project_id,
        ApiKey.revoked_at.is_(None),
        ApiKey.expires_at.is_(None) | (ApiKey.expires_at > database_now()),
    )
    if (session.scalar(statement) or 0) >= MAX_PERSONAL_KEYS:
        raise AlreadyExists(f"there are {MAX_PERSONAL_KEYS} keys already; revoke one first", code="too_many_keys")
