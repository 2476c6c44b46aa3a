"""Sessions: from a sign-in until somebody leaves, is sent away, or does nothing for too long.

A session of a program is a family of refresh tokens: each buys the next one, once. One that comes twice was stolen, or
its answer was lost; nobody can tell who of the two sends it, so the session ends for both. For `REUSE_GRACE_S` it is
taken for a lost answer as long as nobody has used what followed: then the follower is replaced, and whoever holds it
ends the session by using it. A session of a browser is a cookie. A session that ended is deleted.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from gaugehouse.access.caller import ROLE_SCOPES, Role, Scope
from gaugehouse.access.secret_text import hash_secret
from gaugehouse.database import database_now, new_id
from gaugehouse.database.ids import random_base62
from gaugehouse.database.pages import Page, load_page, read_order
from gaugehouse.database.tables import LoginSession, Membership, Project, RefreshToken, User
from gaugehouse.errors import NotFound
from gaugehouse.measurements.names import find_name_problem

REFRESH_PREFIX, COOKIE_PREFIX = "ghr_", "ghs_"
SECRET_CHARACTERS = 43  # 256 bits
REFRESH_TOKEN = re.compile(r"ghr_[0-9A-Za-z]{43}")
COOKIE = re.compile(r"ghs_[0-9A-Za-z]{43}")
REUSE_GRACE_S = 10.0  # a client that lost an answer asks again by then
KEPT_GENERATIONS = 100  # used tokens by which a thief is known
SESSIONS_PER_USER = 1000  # a script that signs in once a second finds each of its tokens alive to its end
LIFETIME_S = 30 * 86_400
IDLE_S = 12 * 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """How long sessions last: at all, and without use. [s]"""

    lifetime_s: int = LIFETIME_S
    idle_s: int = IDLE_S

    @property
    def is_alive(self) -> ColumnElement[bool]:
        """SQL: the session has neither grown too old nor idled too long."""
        return and_(
            LoginSession.created_at > database_now(-self.lifetime_s), LoginSession.used_at > database_now(-self.idle_s)
        )


STANDARD_LIMITS = SessionLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """Whose session it is to be, and for what."""

    user_id: str
    project_id: str
    scopes: Sequence[Scope]
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A new session: its id and the secret that stands for it, which is shown only now."""

    id: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """A session that goes on, with the refresh token that comes next."""

    id: str
    refresh_token: str
    user_id: str
    project: str
    scopes: tuple[Scope, ...]
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused:
    """A session that ended because one of its refresh tokens came twice."""

    id: str
    user_name: str
    project_id: str


def start_token_session(session: Session, new: NewSession) -> Started:
    """Start the session of a program; its secret is a refresh token."""
    session_id = _start(session, new, kind="token", cookie_hash=None)
    return Started(id=session_id, secret=_add_refresh_token(session, session_id, generation=1))


def start_page_session(session: Session, new: NewSession) -> Started:
    """Start the session of a browser; its secret is a cookie."""
    secret = COOKIE_PREFIX + random_base62(SECRET_CHARACTERS)
    return Started(id=_start(session, new, kind="page", cookie_hash=hash_secret(secret)), secret=secret)


def _start(session: Session, new: NewSession, *, kind: str, cookie_hash: str | None) -> str:
    row = LoginSession(
        id=new_id("ses"),
        user_id=new.user_id,
        project_id=new.project_id,
        kind=kind,
        scopes=[scope.value for scope in new.scopes],
        token_version=new.version,
        cookie_hash=cookie_hash,
    )
    session.add(row)
    session.flush()
    too_many = (
        select(LoginSession.id)
        .where(LoginSession.user_id == new.user_id)
        .order_by(LoginSession.used_at.desc(), LoginSession.id)
        .offset(SESSIONS_PER_USER)
    )
    _end_all(session, session.scalars(too_many).all())
    return row.id


def _add_refresh_token(session: Session, session_id: str, *, generation: int) -> str:
    secret = REFRESH_PREFIX + random_base62(SECRET_CHARACTERS)
    session.add(RefreshToken(token_hash=hash_secret(secret), session_id=session_id, generation=generation))
    session.flush()
    return secret


def knows_refresh_token(session: Session, refresh_token: str) -> bool:
    """Say whether a refresh token is one of a session that has not ended, used or not."""
    return session.get(RefreshToken, hash_secret(refresh_token)) is not None


def renew_session(session: Session, refresh_token: str, limits: SessionLimits) -> Renewed | Reused | None:
    """Exchange a refresh token for the next one; None is for one that does not count, whatever the reason.

    Nothing is raised for a token that came twice: the caller commits the end of its session.
    """
    token_hash = hash_secret(refresh_token)
    session_id = session.scalar(select(RefreshToken.session_id).where(RefreshToken.token_hash == token_hash))
    # The lock is PostgreSQL's; what is asked after it sees what the one before has done.
    alive = select(LoginSession).where(LoginSession.id == session_id, limits.is_alive).with_for_update()
    row = session.scalars(alive).one_or_none()
    if row is None:
        return None
    presented = session.get(RefreshToken, token_hash)
    found = _find_holder(session, row)
    if found is None or presented is None:
        end_session(session, row.id)
        return None
    user, project, role = found
    if not _may_be_used(session, presented):
        end_session(session, row.id)
        return Reused(id=row.id, user_name=user.name, project_id=project.id)
    scopes = tuple(scope for scope in ROLE_SCOPES[role] if scope.value in row.scopes)
    return Renewed(
        id=row.id,
        refresh_token=_rotate(session, row, presented),
        user_id=user.id,
        project=project.slug,
        scopes=scopes,
        version=user.token_version,
    )


def _find_holder(session: Session, row: LoginSession) -> tuple[User, Project, Role] | None:
    statement = (
        select(User, Project, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .join(Project, Project.id == Membership.project_id)
        .where(
            User.id == row.user_id,
            Project.id == row.project_id,
            User.disabled_at.is_(None),
            User.token_version == row.token_version,
        )
    )
    found = session.execute(statement).one_or_none()
    return None if found is None else (found[0], found[1], Role(found[2]))


def _may_be_used(session: Session, presented: RefreshToken) -> bool:
    if presented.replaced_at is not None:
        return False
    if presented.used_at is None:
        return True
    now = session.execute(select(database_now())).scalar_one()
    later = and_(
        RefreshToken.session_id == presented.session_id,
        RefreshToken.generation > presented.generation,
        RefreshToken.used_at.is_not(None),
    )
    is_recent = now - presented.used_at <= timedelta(seconds=REUSE_GRACE_S)
    return is_recent and not session.scalar(select(exists().where(later)))


def _rotate(session: Session, row: LoginSession, presented: RefreshToken) -> str:
    now = session.execute(select(database_now())).scalar_one()
    own = RefreshToken.session_id == row.id
    newest = session.scalar(select(func.max(RefreshToken.generation)).where(own)) or presented.generation
    if presented.used_at is None:
        presented.used_at = now
    session.flush()
    session.execute(
        update(RefreshToken)
        .where(own, RefreshToken.generation > presented.generation, RefreshToken.replaced_at.is_(None))
        .values(replaced_at=now),
        execution_options={"synchronize_session": False},
    )
    session.execute(
        delete(RefreshToken).where(own, RefreshToken.generation <= newest - KEPT_GENERATIONS),
        execution_options={"synchronize_session": False},
    )
    row.used_at = now
    return _add_refresh_token(session, row.id, generation=newest + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session that counts, as its user sees it.

    Args:
        kind: `token` of a program, `page` of a browser.
        used_at: When its tokens were last renewed, or its cookie used (to the minute).
        is_current: Whether it is the one that asks.
    """

    id: str
    kind: str
    project: str
    scopes: tuple[str, ...]
    created_at: datetime
    used_at: datetime
    is_current: bool


def load_sessions(
    session: Session,
    user_id: str,
    limits: SessionLimits,
    *,
    current: str,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[SessionView]:
    """Return one page of the sessions of a user in all projects, the newest first."""
    is_valid = exists().where(User.id == LoginSession.user_id, User.token_version == LoginSession.token_version)
    statement = select(LoginSession).where(LoginSession.user_id == user_id, limits.is_alive, is_valid)
    order = read_order("-created_at", {"created_at": LoginSession.created_at}, LoginSession.id)
    rows, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    wanted = select(Project.id, Project.slug).where(Project.id.in_({row.project_id for row in rows}))
    slugs = {row.id: row.slug for row in session.execute(wanted)}
    views = (
        SessionView(
            id=row.id,
            kind=row.kind,
            project=slugs[row.project_id],
            scopes=tuple(row.scopes),
            created_at=row.created_at,
            used_at=row.used_at,
            is_current=row.id == current,
        )
        for row in rows
    )
    return Page(items=tuple(views), next_cursor=next_cursor, total=total)


def end_own_session(session: Session, user_id: str, session_id: str) -> None:
    """End one session of a user.

    Raises:
        NotFound: it is none of theirs, or has ended.
    """
    mine = select(LoginSession.id).where(LoginSession.id == session_id, LoginSession.user_id == user_id)
    if find_name_problem(session_id) is not None or session.scalar(mine) is None:
        raise NotFound("you have no such session", code="session_not_found")
    end_session(session, session_id)


def end_session(session: Session, session_id: str) -> bool:
    """End one session; its access tokens end within a second. Return whether there was one."""
    return _end_all(session, [session_id]) > 0


def end_sessions(session: Session, *, user_id: str, project_id: str | None = None, but: str = "") -> int:
    """End the sessions of a user, of one project or of all, but for one; return how many there were."""
    mine = [LoginSession.user_id == user_id, LoginSession.id != but]
    if project_id is not None:
        mine.append(LoginSession.project_id == project_id)
    return _end_all(session, session.scalars(select(LoginSession.id).where(*mine)).all())


def drop_expired_sessions(session: Session, limits: SessionLimits) -> int:
    """Delete the sessions that nobody can use any more; return how many there were."""
    old_version = exists().where(User.id == LoginSession.user_id, User.token_version != LoginSession.token_version)
    expired = select(LoginSession.id).where(or_(~limits.is_alive, old_version))
    return _end_all(session, session.scalars(expired).all())


def _end_all(session: Session, ids: Sequence[str]) -> int:
    if not ids:
        return 0
    session.flush()
    ended = session.scalars(
        delete(LoginSession).where(LoginSession.id.in_(ids)).returning(LoginSession.id),
        execution_options={"synchronize_session": False},
    )
    return len(ended.all())
