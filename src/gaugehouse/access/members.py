"""Who is in a project, as its admins see them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from gaugehouse.access.caller import Role
from gaugehouse.access.users import change_role, remove_membership
from gaugehouse.database.pages import Page, load_page, read_order
from gaugehouse.database.tables import Membership, User
from gaugehouse.errors import NotFound
from gaugehouse.measurements.names import find_name_problem


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberView:
    """A member of a project.

    Args:
        id: Of the user.
        name: Of the user.
        email: Address that links are sent to, if there is one.
        role: In this project.
        since: When they became a member.
        disabled_at: Since when they are kept out of the whole service.
    """

    id: str
    name: str
    email: str | None
    role: Role
    since: datetime
    disabled_at: datetime | None


def load_members(
    session: Session, project_id: str, *, include_demo: bool, limit: int = 100, cursor: str | None = None
) -> Page[MemberView]:
    """Return one page of the members of a project, by name.

    Args:
        session: An open session.
        project_id: Of the project.
        include_demo: Whether demo users are there: outside demo mode they are as good as absent.
        limit: Members per page, at most 1000.
        cursor: `next_cursor` of the page before.
    """
    order = read_order("name", {"name": User.name}, User.id)
    statement = _members(project_id, include_demo=include_demo)
    rows, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    return Page(
        items=tuple(_view(row, session.get_one(Membership, (row.id, project_id))) for row in rows),
        next_cursor=next_cursor,
        total=total,
    )


def get_member(session: Session, project_id: str, name_or_id: str, *, include_demo: bool) -> MemberView:
    """Return a member by name or id.

    Raises:
        NotFound: nobody of that name is a member, whoever else they may be.
    """
    if find_name_problem(name_or_id) is None:
        matches = or_(User.id == name_or_id, User.name == name_or_id)
        rows = session.scalars(_members(project_id, include_demo=include_demo).where(matches)).all()
        for row in sorted(rows, key=lambda row: row.id != name_or_id):  # an id wins over a name like it
            return _view(row, session.get_one(Membership, (row.id, project_id)))
    raise NotFound("there is no such member", code="member_not_found")


def change_member(session: Session, project_id: str, name_or_id: str, *, role: str, include_demo: bool) -> MemberView:
    """Give a member another role; their tokens and personal keys follow within a second.

    Raises:
        NotFound: there is no such member.
        Refused: no such role.
        AlreadyExists: it is the last admin (`last_admin`).
    """
    member = get_member(session, project_id, name_or_id, include_demo=include_demo)
    change_role(session, member.id, project_id, role)
    return get_member(session, project_id, member.id, include_demo=include_demo)


def remove_member(session: Session, project_id: str, name_or_id: str, *, include_demo: bool) -> MemberView:
    """Take a member out; their tokens and personal keys for the project end within a second. The user stays.

    Raises:
        NotFound: there is no such member.
        AlreadyExists: it is the last admin (`last_admin`).
    """
    member = get_member(session, project_id, name_or_id, include_demo=include_demo)
    remove_membership(session, member.id, project_id)
    return member


def is_elsewhere(session: Session, user_id: str, project_id: str) -> bool:
    """Say whether a user is a member of other projects as well."""
    others = (
        select(func.count())
        .select_from(Membership)
        .where(Membership.user_id == user_id, Membership.project_id != project_id)
    )
    return bool(session.scalar(others))


def _members(project_id: str, *, include_demo: bool) -> Select[User]:
    statement = select(User).join(Membership, Membership.user_id == User.id).where(Membership.project_id == project_id)
    return statement if include_demo else statement.where(User.is_demo.is_(False))


def _view(user: User, membership: Membership) -> MemberView:
    return MemberView(
        id=user.id,
        name=user.name,
        email=user.email,
        role=Role(membership.role),
        since=membership.created_at,
        disabled_at=user.disabled_at,
    )
