"""From credentials to a caller. The only door: endpoints never look at a token, key or password themselves."""

import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Row, Select, and_, select, update
from sqlalchemy.orm import Session

from gaugehouse.access.api_keys import is_well_formed_key
from gaugehouse.access.caller import ROLE_SCOPES, Caller, Role, Scope, has_scope
from gaugehouse.access.key_uses import KeyUses
from gaugehouse.access.login_throttle import LockedOut, LoginThrottle
from gaugehouse.access.met_secrets import MetSecrets
from gaugehouse.access.passwords import hash_password, verify_password
from gaugehouse.access.recent import RecentAnswers
from gaugehouse.access.secret_text import hash_secret
from gaugehouse.access.sessions import (
    COOKIE,
    REFRESH_TOKEN,
    STANDARD_LIMITS,
    NewSession,
    Reused,
    SessionLimits,
    Started,
    drop_expired_sessions,
    knows_refresh_token,
    renew_session,
    start_page_session,
    start_token_session,
)
from gaugehouse.access.signing_keys import SigningKeys
from gaugehouse.access.token_reader import TokenReader
from gaugehouse.access.tokens import Claims, refuse_token, sign_token
from gaugehouse.database import Database, database_now
from gaugehouse.database.tables import NAME_CHARACTERS, ApiKey, LoginSession, Membership, Project, User
from gaugehouse.errors import Forbidden, NotFound, Refused, Unauthenticated
from gaugehouse.limits import Pace
from gaugehouse.measurements.names import find_name_problem

KEY_COLUMNS = (
    ApiKey.id,
    ApiKey.project_id,
    ApiKey.name,
    ApiKey.key_hash,
    ApiKey.component,
    ApiKey.scopes,
    ApiKey.expires_at,
    ApiKey.revoked_at,
)
PACE_COLUMNS = (
    Project.writes_per_minute,
    Project.write_bytes_per_s,
    Project.reads_per_minute,
    Project.reports_per_minute,
)
OPERATOR_LIFETIME_S = 900
DEFAULT_PROJECT = "default"
TOUCH_PERIOD_S = 60.0  # how exact the last use of a browser's session is written down
THIS_MACHINE = "local"  # the address of who asks without a connection


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A signed access token, how long it lives [s], what it may be used for, and what buys the next one."""

    access_token: str
    refresh_token: str
    expires_in_s: int
    scopes: tuple[Scope, ...]
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    id: str
    name: str
    password_hash: str
    token_version: int
    may_log_in: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """What a user is in one project right now, and the session as which they are there."""

    name: str
    project: str
    project_id: str
    role: Role
    token_version: int
    may_log_in: bool
    pace: Pace
    user_id: str
    session: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredKey:
    key_hash: str
    caller: Caller
    expires_at: datetime | None
    is_revoked: bool


class Access:
    """Checks credentials and issues tokens. Shared by all threads.

    Args:
        db: Where users and keys are.
        signing_secret: From `load_signing_secret`.
        token_lifetime_s: How long a user's token lives. [s]
        sessions: How long sessions last.
        demo: Whether demo users may log in; outside demo mode their rows are as good as absent.
        clock: Monotonic seconds, for the age of remembered answers and the delays after wrong passwords. [s]
    """

    def __init__(
        self,
        db: Database,
        signing_secret: bytes,
        token_lifetime_s: int,
        *,
        demo: bool = False,
        sessions: SessionLimits = STANDARD_LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._token_lifetime_s = token_lifetime_s
        longest_s = max(token_lifetime_s, OPERATOR_LIFETIME_S)
        self._signing_keys = SigningKeys(db, signing_secret, longest_s, clock)
        self._tokens = TokenReader(self._signing_keys, max_lifetime_s=longest_s)
        self._demo = demo
        self._sessions = sessions
        self._nobodys_hash = hash_password("not a password of anybody")  # who does not exist costs the same work
        self._throttle = LoginThrottle(clock)
        self._key_uses = KeyUses(clock)
        self.met = MetSecrets(db, clock)
        self._standings: RecentAnswers[_Standing | None] = RecentAnswers(clock)
        self._keys: RecentAnswers[_StoredKey | None] = RecentAnswers(clock)
        self._cookies: RecentAnswers[_Standing | None] = RecentAnswers(clock)
        self._project_ids: RecentAnswers[str | None] = RecentAnswers(clock)

    def issue_token(
        self,
        username: str,
        password: str,
        requested: Sequence[str] = (),
        project: str | None = None,
        *,
        address: str = THIS_MACHINE,
    ) -> IssuedToken:
        """Return a token for a right password, for the requested scopes or, when none is requested, all held ones.

        Raises:
            Unauthenticated: wrong password, unknown or disabled user: one text and one cost for all.
            Throttled: too many wrong passwords for this name from this address, or from it at all.
            Forbidden: a requested scope is not held (`scope_not_granted`).
            NotFound: no such project, or the user is not a member of it.
            Refused: the user has several projects and named none (`project_required`).
        """
        account = self._check_password(username, password, address)
        slug, project_id, role = self._choose_membership(account, project)
        held = ROLE_SCOPES[role]
        refused = sorted(set(requested) - {scope.value for scope in held})
        if refused:
            raise Forbidden(
                f"the scope {refused[0]!r} is not granted to this user",
                code="scope_not_granted",
                fields={"held": [scope.value for scope in held]},
            )
        scopes = tuple(scope for scope in held if not requested or scope.value in requested)
        new = NewSession(user_id=account.id, project_id=project_id, scopes=scopes, version=account.token_version)
        with self._db.transaction() as session:
            started = start_token_session(session, new)
        claims = Claims(
            kind="user",
            subject=account.id,
            project=slug,
            scopes=scopes,
            version=account.token_version,
            session=started.id,
        )
        return self._issue(claims, started.secret)

    def _issue(self, claims: Claims, refresh_token: str) -> IssuedToken:
        self.met.add(hash_secret(refresh_token))
        return IssuedToken(
            access_token=self._sign(claims, self._token_lifetime_s),
            refresh_token=refresh_token,
            expires_in_s=self._token_lifetime_s,
            scopes=tuple(Scope(scope) for scope in claims.scopes),
            project=claims.project,
        )

    def refresh_token(self, refresh_token: str, on_reuse: Callable[[Session, Reused], None]) -> IssuedToken:
        """Return the next tokens of a session, with the scopes that its user still holds.

        Args:
            refresh_token: The newest of the session.
            on_reuse: Called in the transaction that ends a session because this one came twice.

        Raises:
            Unauthenticated: it does not count, whatever the reason; the one text for all.
        """
        if REFRESH_TOKEN.fullmatch(refresh_token) is None:
            raise _refresh_refused()
        with self._db.reading() as session:  # who makes them up shall take no lock from those who write
            is_known = knows_refresh_token(session, refresh_token)
        if not is_known:
            raise _refresh_refused()
        with self._db.transaction() as session:
            renewed = renew_session(session, refresh_token, self._sessions)
            if isinstance(renewed, Reused):
                on_reuse(session, renewed)
        if renewed is None or isinstance(renewed, Reused):
            raise _refresh_refused()
        claims = Claims(
            kind="user",
            subject=renewed.user_id,
            project=renewed.project,
            scopes=renewed.scopes,
            version=renewed.version,
            session=renewed.id,
        )
        return self._issue(claims, renewed.refresh_token)

    def start_page_session(
        self, username: str, password: str, project: str | None = None, *, address: str = THIS_MACHINE
    ) -> Started:
        """Return the cookie of a browser whose user gave the right password; with all scopes that are held.

        Raises:
            GaugehouseError: as `issue_token`.
        """
        account = self._check_password(username, password, address)
        _, project_id, role = self._choose_membership(account, project)
        new = NewSession(
            user_id=account.id, project_id=project_id, scopes=ROLE_SCOPES[role], version=account.token_version
        )
        with self._db.transaction() as session:
            return start_page_session(session, new)

    def caller_of_cookie(self, cookie: str, *, max_age_s: float | None = None) -> Caller:
        """Return who a browser's cookie stands for, by an answer at most so old [s].

        Raises:
            Unauthenticated: no cookie of ours, or its session ended.
        """
        if COOKIE.fullmatch(cookie) is None:
            raise _session_ended()
        cookie_hash = hash_secret(cookie)
        standing = self._cookies.find(cookie_hash, lambda: self._load_page_session(cookie_hash), max_age_s=max_age_s)
        if standing is None or not standing.may_log_in:
            raise _session_ended()
        self.met.add(cookie_hash)
        return _caller_of(standing, standing.scopes)

    def knows_cookie(self, cookie: str) -> bool:
        """Say whether `caller_of_cookie` would answer from memory."""
        return COOKIE.fullmatch(cookie) is None or self._cookies.has(hash_secret(cookie))

    @property
    def session_limits(self) -> SessionLimits:
        """How long sessions last."""
        return self._sessions

    def drop_expired_sessions(self) -> int:
        """Delete the sessions that nobody can use any more; return how many there were."""
        with self._db.transaction() as session:
            return drop_expired_sessions(session, self._sessions)

    def issue_operator_token(self, project: str) -> str:
        """Return a 15 minute token for the command line, which proves by the secret file that it is on this machine."""
        if self._find_project_id(project) is None:
            raise NotFound(f"there is no project {project!r}", code="project_not_found")
        claims = Claims(kind="operator", subject="operator", project=project, scopes=(), version=0)
        return self._sign(claims, OPERATOR_LIFETIME_S)

    def _sign(self, claims: Claims, lifetime_s: int) -> str:
        signature = self._signing_keys.signature()
        return sign_token(claims, by=signature, issued_at_s=int(time.time()), lifetime_s=lifetime_s)

    def describe_keys(self) -> dict[str, list[dict[str, str]]]:
        """Return the public keys that tokens are verified with, as a JWK set (RFC 7517)."""
        return self._signing_keys.describe()

    def caller_of_token(self, token: str, *, max_age_s: float | None = None) -> Caller:
        """Return who a token stands for, with the scopes that its user still holds, by an answer at most so old [s].

        Raises:
            Unauthenticated: not a genuine current token, or its user, membership or password ended.
        """
        claims = self._tokens.read(token, max_age_s=max_age_s)
        if claims.kind == "operator":
            return self._operator(claims.project, max_age_s=max_age_s)
        standing = self._standings.find(_question(claims), lambda: self._load_standing(claims), max_age_s=max_age_s)
        if standing is not None and standing.token_version < claims.version:  # it was issued after we last asked
            standing = self._standings.renew(_question(claims), lambda: self._load_standing(claims))
        if standing is None or not standing.may_log_in or standing.token_version != claims.version:
            raise refuse_token()
        return _caller_of(standing, claims.scopes)

    def caller_of_key(self, key: str, *, max_age_s: float | None = None) -> Caller:
        """Return who an API key stands for, by an answer at most so old [s].

        Raises:
            Unauthenticated: mistyped, unknown, revoked or expired.
        """
        if not is_well_formed_key(key):  # no database is asked about a typo
            raise _key_refused()
        key_hash = hash_secret(key)
        stored = self._keys.find(key_hash, lambda: self._load_key(key_hash), max_age_s=max_age_s)
        caller = self._caller_of_stored(key_hash, stored)
        if caller is None:
            raise _key_refused()
        return caller

    def callers_of_keys(self, keys: Sequence[str]) -> list[Caller | None]:
        """Return who API keys stand for, None for one that does not count; asked now, in one question for all.

        For those who remember the answers themselves, and have many to ask for.
        """
        hashes = [hash_secret(key) if is_well_formed_key(key) else None for key in keys]
        wanted = sorted({key_hash for key_hash in hashes if key_hash is not None})
        stored = self._keys.renew_all(lambda: self._load_keys(wanted)) if wanted else {}
        return [None if one is None else self._caller_of_stored(one, stored[one]) for one in hashes]

    def _caller_of_stored(self, key_hash: str, stored: _StoredKey | None) -> Caller | None:
        """Return who a key stands for that counts now, and note its use."""
        if stored is None or not hmac.compare_digest(stored.key_hash, key_hash) or stored.is_revoked:
            return None
        if stored.expires_at is not None and stored.expires_at <= datetime.now(UTC):
            return None
        self.met.add(key_hash)
        self._key_uses.note(stored.caller.id)
        return stored.caller

    def write_key_uses(self, *, is_last: bool = False) -> int:
        """Write down when keys were last used, each at most once a minute; return how many were written.

        Raises:
            Unavailable: the database is away; what waits is kept.
        """
        return self._key_uses.write(self._db, is_last=is_last)

    def knows_token(self, token: str) -> bool:
        """Say whether `caller_of_token` would answer from memory: an event loop need not leave it to a thread then.

        Raises:
            Unauthenticated: too long for a token, or no text of one.
        """
        claims = self._tokens.find_known(token)
        if claims is None:
            return False
        if claims.kind == "operator":
            return self._project_ids.has(claims.project)
        return self._standings.has(_question(claims))

    def knows_key(self, key: str) -> bool:
        """Say whether `caller_of_key` would answer from memory."""
        return not is_well_formed_key(key) or self._keys.has(hash_secret(key))

    def caller_of_password(self, username: str, password: str, *, address: str = THIS_MACHINE) -> Caller:
        """Return who a user name and password stand for (HTTP Basic), with all scopes that are held.

        Raises:
            Unauthenticated, Throttled: as `issue_token`.
        """
        account = self._check_password(username, password, address)
        slug, project_id, role = self._choose_membership(account, None)
        return Caller(
            kind="user", name=account.name, project=slug, project_id=project_id, scopes=frozenset(ROLE_SCOPES[role])
        )

    def check_password(self, username: str, password: str, *, address: str = THIS_MACHINE) -> str:
        """Return the id of the user whose name and password these are.

        Raises:
            Unauthenticated, Throttled: as `issue_token`.
        """
        return self._check_password(username, password, address).id

    def knows_user(self, username: str) -> bool:
        """Say whether there is a user of this name; for what only admins read, never for an answer."""
        with self._db.reading() as session:
            return self._find_account(session, username) is not None

    def refuse_throttled(self, username: str, address: str) -> None:
        """Refuse a sign-in that would be refused for its number, before it waits for a thread.

        Raises:
            Throttled: as `issue_token`.
        """
        self._throttle.refuse_early(username, address)

    def find_new_lockout(self, username: str, address: str) -> LockedOut | None:
        """Return what is locked out for too many wrong passwords, once of each lock-out; for the audit log.

        Returns:
            `account`, `address`, or None: as `LoginThrottle.find_new_lockout`.
        """
        return self._throttle.find_new_lockout(username, address)

    def _check_password(self, username: str, password: str, address: str) -> _Account:
        with self._throttle.attempt(username, address):
            account, better_hash = self._compare_password(username, password)
        if better_hash is not None:
            with self._db.transaction() as session:
                session.execute(
                    update(User)
                    .where(User.id == account.id, User.password_hash == account.password_hash)
                    .values(password_hash=better_hash)
                )
        return account

    def _compare_password(self, username: str, password: str) -> tuple[_Account, str | None]:
        """Return whose password it is and, when theirs is of older parameters, the hash to store."""
        with self._db.reading() as session:
            account = self._find_account(session, username)
        # Hashing happens outside the transaction: 30 ms, and a queue when many log in at once.
        password_hash = account.password_hash if account is not None else self._nobodys_hash
        is_right, better_hash = verify_password(password, password_hash)
        if account is None or not is_right or not account.may_log_in:
            raise Unauthenticated("the user name or the password is wrong", code="login_refused")
        return account, better_hash

    def _find_account(self, session: Session, username: str) -> _Account | None:
        if find_name_problem(username) is not None:  # NUL and half surrogates make the drivers fail, not answer
            return None
        user = session.scalars(select(User).where(User.name == username)).one_or_none()
        if user is None:
            return None
        return _Account(
            id=user.id,
            name=user.name,
            password_hash=user.password_hash,
            token_version=user.token_version,
            may_log_in=self._may_log_in(user),
        )

    def _may_log_in(self, user: User) -> bool:
        return user.disabled_at is None and (self._demo or not user.is_demo)

    def _choose_membership(self, account: _Account, wanted: str | None) -> tuple[str, str, Role]:
        statement = (
            select(Project.slug, Project.id, Membership.role)
            .join(Membership, Membership.project_id == Project.id)
            .where(Membership.user_id == account.id)
            .order_by(Project.slug)
        )
        with self._db.reading() as session:
            mine = {slug: (slug, project_id, Role(role)) for slug, project_id, role in session.execute(statement)}
        if wanted is None:
            wanted = next(iter(mine), None) if len(mine) == 1 else DEFAULT_PROJECT
            if wanted not in mine and mine:
                raise Refused("name one of your projects", code="project_required", fields={"projects": sorted(mine)})
        if wanted not in mine:
            raise NotFound("the project does not exist or is not yours", code="project_not_found")
        return mine[wanted]

    def _load_standing(self, claims: Claims) -> _Standing | None:
        statement = _standings().where(
            User.id == claims.subject, Project.slug == claims.project, LoginSession.id == claims.session
        )
        with self._db.reading() as session:
            found = session.execute(statement).one_or_none()
            return None if found is None else self._describe(*found)

    def _load_page_session(self, cookie_hash: str) -> _Standing | None:
        statement = _standings().where(
            LoginSession.cookie_hash == cookie_hash,
            LoginSession.token_version == User.token_version,
            self._sessions.is_alive,
        )
        stale = LoginSession.used_at < database_now(-TOUCH_PERIOD_S)
        with self._db.reading() as session:
            found = session.execute(statement).one_or_none()
            is_stale = session.scalar(select(stale).where(LoginSession.cookie_hash == cookie_hash))
        if found is not None and is_stale:
            with self._db.transaction() as session:
                mine = LoginSession.cookie_hash == cookie_hash
                session.execute(update(LoginSession).where(mine).values(used_at=database_now()))
        return None if found is None else self._describe(*found)

    def _describe(self, user: User, project: Project, role: str, login: LoginSession) -> _Standing:
        return _Standing(
            name=user.name,
            project=project.slug,
            project_id=project.id,
            role=Role(role),
            token_version=user.token_version,
            may_log_in=self._may_log_in(user),
            pace=_pace_of(project),
            user_id=user.id,
            session=login.id,
            scopes=tuple(login.scopes),
        )

    def _load_key(self, key_hash: str) -> _StoredKey | None:
        return self._load_keys([key_hash])[key_hash]

    def _load_keys(self, hashes: Sequence[str]) -> dict[str, _StoredKey | None]:
        """Return the keys of these hashes, None for those that there are not, or whose owners may not log in."""
        is_owners = (Membership.user_id == ApiKey.owner_id) & (Membership.project_id == ApiKey.project_id)
        # Columns, not mapped rows: of a fleet each device asks once a minute, and an object costs more than its answer.
        statement = (
            select(*KEY_COLUMNS, Project.slug, *PACE_COLUMNS, User, Membership.role)
            .join(Project, Project.id == ApiKey.project_id)
            .join(User, User.id == ApiKey.owner_id, isouter=True)
            .join(Membership, is_owners, isouter=True)
            .where(ApiKey.key_hash.in_(hashes))
        )
        with self._db.reading() as session:
            found = {row.key_hash: self._read_key(row) for row in session.execute(statement)}
        return {key_hash: found.get(key_hash) for key_hash in hashes}

    def _read_key(self, row: Row[*tuple[Any, ...]]) -> _StoredKey | None:
        scopes, owner = _read_scopes(tuple(row.scopes)), row.User
        if owner is not None:
            if row.role is None or not self._may_log_in(owner):
                return None
            # Never more than the owner may at this moment.
            scopes = frozenset(scope for scope in scopes if has_scope(ROLE_SCOPES[Role(row.role)], scope))
        caller = Caller(
            kind="key",
            name=row.name if owner is None else f"{owner.name}/{row.name}"[:NAME_CHARACTERS],
            project=row.slug,
            project_id=row.project_id,
            scopes=scopes,
            component=row.component,
            id=row.id,
            owner_id="" if owner is None else owner.id,
            pace=_pace_of(row),
        )
        return _StoredKey(
            key_hash=row.key_hash,
            caller=caller,
            expires_at=row.expires_at,
            is_revoked=row.revoked_at is not None,
        )

    def _operator(self, slug: str, *, max_age_s: float | None) -> Caller:
        project_id = self._find_project_id(slug, max_age_s=max_age_s)
        if project_id is None:
            raise refuse_token()
        return Caller(kind="operator", name="operator", project=slug, project_id=project_id, scopes=frozenset(Scope))

    def _find_project_id(self, slug: str, *, max_age_s: float | None = None) -> str | None:
        def ask() -> str | None:
            with self._db.reading() as session:
                return session.scalar(select(Project.id).where(Project.slug == slug))

        return self._project_ids.find(slug, ask, max_age_s=max_age_s)


def _question(claims: Claims) -> tuple[str, str, str]:
    return claims.subject, claims.project, claims.session


def _standings() -> Select[User, Project, str, LoginSession]:
    """Return the question for users in projects with their sessions."""
    return (
        select(User, Project, Membership.role, LoginSession)
        .join(LoginSession, LoginSession.user_id == User.id)
        .join(Project, Project.id == LoginSession.project_id)
        .join(Membership, and_(Membership.user_id == User.id, Membership.project_id == Project.id))
    )


def _caller_of(standing: _Standing, scopes: Sequence[str]) -> Caller:
    return Caller(
        kind="user",
        name=standing.name,
        project=standing.project,
        project_id=standing.project_id,
        scopes=frozenset(scope for scope in ROLE_SCOPES[standing.role] if scope.value in scopes),
        id=standing.user_id,
        session=standing.session,
        pace=standing.pace,
    )


def _refresh_refused() -> Unauthenticated:
    return Unauthenticated("the refresh token does not count any more; log in again", code="refresh_refused")


def _session_ended() -> Unauthenticated:
    return Unauthenticated("the session has ended; sign in again", code="session_ended")


@lru_cache(maxsize=256)  # a fleet has one set of them: a million equal ones would be hundreds of megabytes
def _read_scopes(texts: tuple[str, ...]) -> frozenset[Scope]:
    return frozenset(Scope(text) for text in texts)


def _pace_of(project: Project | Row[Any]) -> Pace:
    return Pace(
        writes_per_minute=project.writes_per_minute,
        write_bytes_per_s=project.write_bytes_per_s,
        reads_per_minute=project.reads_per_minute,
        reports_per_minute=project.reports_per_minute,
    )


def _key_refused() -> Unauthenticated:
    return Unauthenticated("the API key is not valid", code="api_key_refused")
