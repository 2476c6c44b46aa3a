"""Users and what they are in a project."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from gaugehouse.access.caller import Role
from gaugehouse.access.passwords import check_password, hash_password
from gaugehouse.access.sessions import end_sessions
from gaugehouse.database import database_now, new_id
from gaugehouse.database.tables import LoginSession, Membership, Project, User
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.measurements.names import find_name_problem

DEMO_USERS = (("user", Role.VIEWER), ("manager", Role.MANAGER))  # passwords equal the names; demo mode only
DEMO_PROJECT = "default"


def create_user(session: Session, *, name: str, password: str, role: str, project: str) -> str:
    """Create a user with a role in a project and return its id; a demo user of the same name gives way.

    Raises:
        Refused: name, password or role are not acceptable.
        NotFound: there is no such project.
        AlreadyExists: the name is taken.
    """
    problem = find_name_problem(name)
    if problem is not None or ":" in name:  # HTTP Basic ends the name at the first colon
        raise Refused(f"the name of a user {problem or 'cannot contain a colon'}", code="name_refused")
    check_password(password, user_name=name)
    project_id, held = get_project(session, project).id, _read_role(role)
    user = _find_user(session, name)
    if user is not None and not user.is_demo:
        raise AlreadyExists(f"there is already a user {name!r}", code="user_exists")
    if user is not None:
        session.delete(user)
        session.flush()
    return _add_user(session, name, password, project_id, held, is_demo=False)


def has_users(session: Session) -> bool:
    """Return whether anybody can log in outside demo mode."""
    return bool(session.scalar(select(exists().where(User.is_demo.is_(False)))))


def ensure_demo_users(session: Session) -> None:
    """Create user/user and manager/manager in the default project, unless real users hold these names.

    They can log in only through an `Access` that was made for demo mode.
    """
    project_id = get_project(session, DEMO_PROJECT).id
    for name, role in DEMO_USERS:
        if _find_user(session, name) is None:
            _add_user(session, name, name, project_id, role, is_demo=True)


def set_password(session: Session, *, name: str, password: str, keep_session: str = "") -> None:
    """Change a password; all tokens of the user end within a second, all sessions but for the one that is named."""
    check_password(password, user_name=name)
    user = get_user(session, name)
    user.password_hash = hash_password(password)
    user.is_demo = False
    _end_tokens(session, user, keep_session=keep_session)


def disable_user(session: Session, *, name: str) -> None:
    """Keep a user out; tokens end within a second and stay ended after `enable_user`."""
    user = get_user(session, name)
    if user.disabled_at is None:
        user.disabled_at = session.scalar(select(database_now()))
        _end_tokens(session, user)


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
    """Make an existing user viewer, manager or admin of a project; tokens change with it within a second."""
    user_id, project_id, held = get_user(session, name).id, get_project(session, project).id, _read_role(role)
    membership = session.get(Membership, (user_id, project_id))
    if membership is None:
        session.add(Membership(user_id=user_id, project_id=project_id, role=held.value))
    else:
        membership.role = held.value


def end_membership(session: Session, *, name: str, project: str) -> None:
    """Take a user out of a project; tokens for it end within a second."""
    membership = session.get(Membership, (get_user(session, name).id, get_project(session, project).id))
    if membership is None:
        raise NotFound(f"{name!r} is not a member of this project", code="membership_not_found")
    session.delete(membership)


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


def _add_user(session: Session, name: str, password: str, project_id: str, role: Role, *, is_demo: bool) -> str:
    user = User(id=new_id("usr"), name=name, password_hash=hash_password(password), is_demo=is_demo)
    session.add(user)
    session.flush()  # the membership refers to it
    session.add(Membership(user_id=user.id, project_id=project_id, role=role.value))
    session.flush()
    return user.id
