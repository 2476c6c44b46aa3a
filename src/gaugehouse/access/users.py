"""Users and what they are in a project."""

from typing import NewType

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from gaugehouse.access.caller import Role
from gaugehouse.access.passwords import check_password, hash_password, verify_password
from gaugehouse.access.sessions import end_sessions
from gaugehouse.database import database_now, new_id
from gaugehouse.database.tables import ApiKey, LoginSession, Membership, OneTimeLink, Project, User
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.measurements.names import find_name_problem

PasswordHash = NewType("PasswordHash", str)

DEMO_USERS = (("user", Role.VIEWER), ("manager", Role.MANAGER))  # passwords equal the names; demo mode only
DEMO_PROJECT = "default"


def create_user(session: Session, *, name: str, password: str, role: str, project: str) -> str:
    """Create a user with a role in a project and return its id; a demo user of the same name gives way.

    The password is hashed within the transaction: who shares the database prepares it before, and calls `add_user`.

    Raises:
        Refused: name, password or role are not acceptable.
        NotFound: there is no such project.
        AlreadyExists: the name is taken.
    """
    check_user_name(name)
    prepared = prepare_password(password, user_name=name)
    return add_user(session, name=name, password=prepared, role=role, project_id=get_project(session, project).id)


def check_user_name(name: str) -> None:
    """Refuse what cannot be the name of a user."""
    problem = find_name_problem(name)
    if problem is not None or ":" in name:  # HTTP Basic ends the name at the first colon
        raise Refused(f"the name of a user {problem or 'cannot contain a colon'}", code="name_refused")


def add_user(
    session: Session, *, name: str, password: PasswordHash, role: str, project_id: str, email: str | None = None
) -> str:
    """Create a user, whose password was prepared, with a role in a project; return its id.

    Raises:
        Refused: name or role are not acceptable.
        AlreadyExists: the name is taken.
    """
    check_user_name(name)
    held, user = _read_role(role), _find_user(session, name)
    if user is not None and not user.is_demo:
        raise AlreadyExists(f"there is already a user {name!r}", code="user_exists")
    if user is not None:
        session.delete(user)
        session.flush()
    return _add_user(session, name, password, project_id, held, email=email)


def has_users(session: Session) -> bool:
    """Return whether anybody can log in outside demo mode."""
    return bool(session.scalar(select(exists().where(User.is_demo.is_(False)))))


def is_member(session: Session, project_id: str, name: str, *, include_demo: bool) -> bool:
    """Return whether somebody of this name who may log in is a member of a project."""
    if find_name_problem(name) is not None:  # some texts would make a driver fail
        return False
    statement = (
        select(User.is_demo)
        .join(Membership, Membership.user_id == User.id)
        .where(User.name == name, Membership.project_id == project_id, User.disabled_at.is_(None))
    )
    is_demo = session.scalar(statement)
    return is_demo is not None and (include_demo or not is_demo)


def ensure_demo_users(session: Session) -> None:
    """Create user/user and manager/manager in the default project, unless real users hold these names.

    They can log in only through an `Access` that was made for demo mode.
    """
    project_id = get_project(session, DEMO_PROJECT).id
    for name, role in DEMO_USERS:
        if _find_user(session, name) is None:
            _add_user(session, name, hash_password(name), project_id, role, is_demo=True)


def find_demo_accounts(session: Session) -> list[User]:
    """Return members by the names of demo users whose password is the published one still, demo users or not."""
    is_somewhere = exists().where(Membership.user_id == User.id)
    named = User.name.in_([name for name, _role in DEMO_USERS])
    statement = select(User).where(named, is_somewhere, User.disabled_at.is_(None)).order_by(User.name)
    return [user for user in session.scalars(statement) if verify_password(user.name, user.password_hash)[0]]


def prepare_password(password: str, *, user_name: str) -> PasswordHash:
    """Return what is stored of a new password: outside of any transaction, for it takes 30 ms.

    Raises:
        Refused: it is too short, too long, no text, or too common.
    """
    check_password(password, user_name=user_name)
    return PasswordHash(hash_password(password))


def set_password(session: Session, *, name: str, password: str, keep_session: str = "") -> None:
    """Change a password; all tokens of the user end within a second, all sessions but for the one that is named.

    It is hashed within the transaction: who shares the database prepares it before, and calls `replace_password`.
    """
    prepared = prepare_password(password, user_name=name)
    replace_password(session, get_user(session, name).id, prepared, keep_session=keep_session)


def replace_password(session: Session, user_id: str, password: PasswordHash, *, keep_session: str = "") -> None:
    """Change a password that was prepared: `set_password`; links to reset it end as well."""
    user = session.get_one(User, user_id)
    user.password_hash = password
    user.is_demo = False
    _end_tokens(session, user, keep_session=keep_session)
    _end_resets(session, user_id)
    session.flush()


def _end_resets(session: Session, user_id: str) -> None:
    open_links = update(OneTimeLink).where(OneTimeLink.user_id == user_id, OneTimeLink.used_at.is_(None))
    session.execute(open_links.values(used_at=database_now()), execution_options={"synchronize_session": False})


def disable_user(session: Session, *, name: str) -> None:
    """Keep a user out; tokens and personal keys end within a second and stay ended after `enable_user`."""
    # Locked: a key that they make at this moment is ended with the others, or not made.
    user = session.get_one(User, get_user(session, name).id, with_for_update=True, populate_existing=True)
    if user.disabled_at is None:
        user.disabled_at = session.scalar(select(database_now()))
        _end_tokens(session, user)
        _end_personal_keys(session, user.id, None)


def revoke_user(session: Session, *, name: str) -> int:
    """Send a user away everywhere: tokens end within a second; return how many sessions there were."""
    return _end_tokens(session, get_user(session, name))


def _end_tokens(session: Session, user: User, *, keep_session: str = "") -> int:
    user.token_version += 1
    kept = session.get(LoginSession, keep_session)
    if kept is not None and kept.user_id == user.id:
        kept.token_version = user.token_version
    return end_sessions(session, user_id=user.id, but=keep_session)


def enable_user(session: Session, *, name: str) -> None:
    """Let a disabled user log in again."""
    get_user(session, name).disabled_at = None


def grant_role(session: Session, *, name: str, project: str, role: str) -> None:
    """Make an existing user viewer, manager or admin of a project; tokens change with it within a second.

    Raises:
        NotFound: there is no such user or project.
        Refused: no such role.
        AlreadyExists: it is the last admin, who must stay one (`last_admin`).
    """
    user, project_id, held = get_user(session, name), get_project(session, project).id, _read_role(role)
    if session.get(Membership, (user.id, project_id)) is None:
        add_membership(session, user.id, project_id, held)
    else:
        change_role(session, user.id, project_id, role)


def add_membership(session: Session, user_id: str, project_id: str, role: Role) -> None:
    """Make a user a member of another project.

    Links that reset their password end: the admin who made one was asked by no admin of this project.
    """
    session.add(Membership(user_id=user_id, project_id=project_id, role=role.value))
    _end_resets(session, user_id)
    session.flush()


def change_role(session: Session, user_id: str, project_id: str, role: str) -> None:
    """Give a member another role; tokens and personal keys change with it within a second.

    Raises:
        Refused: no such role.
        AlreadyExists: it is the last admin, who must stay one (`last_admin`).
    """
    held = _read_role(role)
    _lock_members(session, project_id)
    membership = session.get_one(Membership, (user_id, project_id), populate_existing=True)
    if membership.role == Role.ADMIN and held is not Role.ADMIN:
        _keep_an_admin(session, user_id, project_id)
    membership.role = held.value
    session.flush()


def end_membership(session: Session, *, name: str, project: str) -> None:
    """Take a user out of a project; tokens and personal keys for it end within a second.

    Raises:
        NotFound: they are not in it.
        AlreadyExists: it is the last admin (`last_admin`).
    """
    user_id, project_id = get_user(session, name).id, get_project(session, project).id
    if session.get(Membership, (user_id, project_id)) is None:
        raise NotFound(f"{name!r} is not a member of this project", code="membership_not_found")
    remove_membership(session, user_id, project_id)


def remove_membership(session: Session, user_id: str, project_id: str) -> None:
    """Take a member out of a project: `end_membership` by ids.

    Raises:
        AlreadyExists: it is the last admin (`last_admin`).
    """
    _lock_members(session, project_id)
    membership = session.get_one(Membership, (user_id, project_id), populate_existing=True, with_for_update=True)
    if membership.role == Role.ADMIN:
        _keep_an_admin(session, user_id, project_id)
    _end_personal_keys(session, user_id, project_id)
    end_sessions(session, user_id=user_id, project_id=project_id)
    session.delete(membership)
    session.flush()


def find_role(session: Session, user_id: str, project_id: str) -> Role | None:
    """Return what a user is in a project, None if nothing."""
    membership = session.get(Membership, (user_id, project_id))
    return None if membership is None else Role(membership.role)


def _lock_members(session: Session, project_id: str) -> None:
    """Let nobody else change who is in a project until this transaction ends: two admins may demote one another."""
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))


def _keep_an_admin(session: Session, leaving_id: str, project_id: str) -> None:
    others = (
        select(Membership.user_id)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.project_id == project_id,
            Membership.role == Role.ADMIN.value,
            Membership.user_id != leaving_id,
            User.disabled_at.is_(None),
            User.is_demo.is_(False),
        )
    )
    if session.scalars(others.limit(1)).first() is None:
        raise AlreadyExists("this is the last admin of the project; make another one first", code="last_admin")


def _end_personal_keys(session: Session, owner_id: str, project_id: str | None) -> None:
    """End the personal keys of a member, in one project or in all: who comes back later makes new ones."""
    statement = update(ApiKey).where(ApiKey.owner_id == owner_id, ApiKey.revoked_at.is_(None))
    if project_id is not None:
        statement = statement.where(ApiKey.project_id == project_id)
    session.execute(statement.values(revoked_at=database_now()), execution_options={"synchronize_session": False})


def get_member_id(session: Session, *, name: str, project_id: str) -> str:
    """Return the id of a member of a project by name.

    Raises:
        NotFound: nobody of this name is a member, whether there is such a user or not.
    """
    statement = select(User.id).join(Membership, Membership.user_id == User.id)
    user_id = session.scalar(statement.where(User.name == name, Membership.project_id == project_id))
    if user_id is None:
        raise NotFound(f"there is no member {name!r} in this project", code="user_not_found")
    return user_id


def get_user(session: Session, name: str) -> User:
    """Return the row of a user."""
    user = _find_user(session, name)
    if user is None:
        raise NotFound(f"there is no user {name!r}", code="user_not_found")
    return user


def get_project(session: Session, slug: str) -> Project:
    """Return the row of a project."""
    project = session.scalars(select(Project).where(Project.slug == slug)).one_or_none()
    if project is None:
        raise NotFound(f"there is no project {slug!r}", code="project_not_found")
    return project


def _find_user(session: Session, name: str) -> User | None:
    return session.scalars(select(User).where(User.name == name)).one_or_none()


def _read_role(role: str) -> Role:
    if role not in set(Role):
        raise Refused(f"a role is one of {', '.join(Role)}, not {role!r}", code="role_refused")
    return Role(role)


def _add_user(  # noqa: PLR0913 - one per column
    session: Session,
    name: str,
    password_hash: str,
    project_id: str,
    role: Role,
    *,
    email: str | None = None,
    is_demo: bool = False,
) -> str:
    user = User(id=new_id("usr"), name=name, password_hash=password_hash, email=email, is_demo=is_demo)
    session.add(user)
    session.flush()  # the membership refers to it
    session.add(Membership(user_id=user.id, project_id=project_id, role=role.value))
    session.flush()
    return user.id
