"""One-time links: an invitation to a project, leave to set a forgotten password. Whoever has the token may.

Only the token's hash is stored; it counts once, and not for long.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from gaugehouse.access.caller import Role
from gaugehouse.access.members import MemberView, get_member
from gaugehouse.access.secret_text import hash_secret, is_well_formed, make_secret
from gaugehouse.access.users import PasswordHash, add_membership, add_user, find_role
from gaugehouse.database import database_now, new_id
from gaugehouse.database.pages import Page, load_page, read_order
from gaugehouse.database.tables import EMAIL_CHARACTERS, OneTimeLink, User
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.measurements.names import find_name_problem

LINK_PREFIX = "ghl_"
INVITATION_LIFETIME_S = 3 * 86_400
RESET_LIFETIME_S = 3_600
MAX_OPEN_INVITATIONS = 100  # of one project: each may be a mail to a stranger
MAX_RESETS = 3  # of one user within `RESET_LIFETIME_S`: nobody's mailbox is to be filled from here
MAX_ACCOUNTS_OF_ADDRESS = 5
ADDRESS = re.compile(r"[!-?A-~]+@[!-?A-~]+")  # printable ASCII around one @; the mail server knows the rest


class LinkKind(StrEnum):
    """What a link is for."""

    INVITATION = "invitation"
    RESET = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationView:
    """What can be told about an invitation after it was shown once."""

    id: str
    role: Role
    email: str | None
    made_by: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLink:
    """A new link: `token` is shown now and never again.

    Args:
        id: Of the link.
        token: The secret.
        expires_at: When it ends if nobody uses it.
    """

    id: str
    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLink:
    """A link that counts.

    Args:
        id: Of the link.
        project_id: What an invitation invites to.
        role: As what.
        email: Where it was sent.
        user_id: Whose password a reset is about.
        user_name: Their name.
    """

    id: str
    project_id: str | None
    role: str | None
    email: str | None
    user_id: str | None
    user_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A link to set a new password, and where it is to be sent."""

    user_id: str
    user_name: str
    email: str
    link: MadeLink


def invite(session: Session, *, project_id: str, role: str, email: str | None, made_by: str) -> MadeLink:
    """Make a link by which somebody becomes a member of a project.

    Raises:
        Refused: no such role, or not an address.
        AlreadyExists: too many wait to be used (`too_many_invitations`).
    """
    if role not in set(Role):
        raise Refused(f"a role is one of {', '.join(Role)}, not {role!r}", code="role_refused")
    if email is not None and (len(email) > EMAIL_CHARACTERS or ADDRESS.fullmatch(email) is None):
        raise Refused("email is not an address such as name@example.com", code="email_refused")
    waiting = select(func.count()).where(
        OneTimeLink.project_id == project_id,
        OneTimeLink.used_at.is_(None),
        OneTimeLink.expires_at > database_now(),
    )
    if (session.scalar(waiting) or 0) >= MAX_OPEN_INVITATIONS:
        raise AlreadyExists(
            f"{MAX_OPEN_INVITATIONS} invitations wait already; withdraw some", code="too_many_invitations"
        )
    row = OneTimeLink(kind=LinkKind.INVITATION.value, project_id=project_id, role=role, email=email, made_by=made_by)
    return _add(session, row, lifetime_s=INVITATION_LIFETIME_S)


def load_invitations(
    session: Session, project_id: str, *, limit: int = 100, cursor: str | None = None
) -> Page[InvitationView]:
    """Return one page of the invitations to a project, the newest first, used and ended ones too."""
    order = read_order("-created_at", {"created_at": OneTimeLink.created_at}, OneTimeLink.id)
    statement = select(OneTimeLink).where(OneTimeLink.project_id == project_id)
    rows, next_cursor, total = load_page(session, statement, order, limit=limit, cursor=cursor)
    return Page(items=tuple(_view(row) for row in rows), next_cursor=next_cursor, total=total)


def withdraw_invitation(session: Session, project_id: str, invitation_id: str) -> InvitationView:
    """Delete an invitation that nobody used yet; its link counts no more.

    Raises:
        NotFound: there is none of this project that waits.
    """
    statement = select(OneTimeLink).where(
        OneTimeLink.id == invitation_id, OneTimeLink.project_id == project_id, OneTimeLink.used_at.is_(None)
    )
    row = None if find_name_problem(invitation_id) else session.scalars(statement).one_or_none()
    if row is None:
        raise NotFound("there is no such invitation that waits", code="invitation_not_found")
    view = _view(row)
    session.delete(row)
    session.flush()
    return view


def make_reset(session: Session, user_id: str, *, made_by: str) -> MadeLink:
    """Make a link by which a user sets a new password."""
    row = OneTimeLink(kind=LinkKind.RESET.value, user_id=user_id, made_by=made_by)
    return _add(session, row, lifetime_s=RESET_LIFETIME_S)


def make_resets(session: Session, account: str, *, made_by: str) -> list[Reset]:
    """Make a link for each user of a name or an address that mail can be sent to; none for others.

    Of each user at most `MAX_RESETS` an hour: more are made for nobody, and nobody is told.
    """
    if find_name_problem(account) is not None:
        return []
    statement = (
        select(User)
        .where(
            or_(User.name == account, User.email == account),
            User.email.is_not(None),
            User.disabled_at.is_(None),
            User.is_demo.is_(False),
        )
        .order_by(User.id)
        .limit(MAX_ACCOUNTS_OF_ADDRESS)
    )
    resets = []
    for user in session.scalars(statement).all():
        recent = select(func.count()).where(
            OneTimeLink.user_id == user.id, OneTimeLink.created_at > database_now(-RESET_LIFETIME_S)
        )
        if (session.scalar(recent) or 0) < MAX_RESETS:
            link = make_reset(session, user.id, made_by=made_by)
            resets.append(Reset(user_id=user.id, user_name=user.name, email=user.email or "", link=link))
    return resets


def find_open_link(session: Session, token: str, kind: LinkKind) -> OpenLink:
    """Return what a link is for, without using it.

    Raises:
        Refused: mistyped, unknown, used, ended, or for something else: one text for all (`link_refused`).
    """
    if not is_well_formed(token, LINK_PREFIX):
        raise _refused()
    statement = select(OneTimeLink, User.name).join(User, User.id == OneTimeLink.user_id, isouter=True)
    found = session.execute(
        statement.where(
            OneTimeLink.token_hash == hash_secret(token),
            OneTimeLink.kind == kind.value,
            OneTimeLink.used_at.is_(None),
            OneTimeLink.expires_at > database_now(),
        )
    ).one_or_none()
    if found is None:
        raise _refused()
    row, name = found
    return OpenLink(
        id=row.id,
        project_id=row.project_id,
        role=row.role,
        email=row.email,
        user_id=row.user_id,
        user_name=name,
    )


def use_link(session: Session, token: str, kind: LinkKind) -> OpenLink:
    """Return what a link is for, and use it up: of many who come at once, one succeeds.

    Raises:
        Refused: as `find_open_link`.
    """
    link = find_open_link(session, token, kind)
    taken = (
        update(OneTimeLink)
        .where(OneTimeLink.id == link.id, OneTimeLink.used_at.is_(None))
        .values(used_at=database_now())
        .returning(OneTimeLink.id)
        .execution_options(synchronize_session=False)
    )
    if session.scalar(taken) is None:
        raise _refused()
    return link


def join_project(
    session: Session, link: OpenLink, *, name: str, user_id: str | None, password: PasswordHash | None
) -> MemberView:
    """Make whoever accepted an invitation a member.

    Args:
        session: The transaction in which the link was used.
        link: The invitation.
        name: Of the user.
        user_id: Of a user whose password was right; None for a new one.
        password: Of a new user.

    Raises:
        AlreadyExists: they are a member already (`already_member`), or the name was taken meanwhile.
        Refused: not a name.
    """
    assert link.project_id is not None and link.role is not None  # noqa: S101, PT018 - an invitation has both
    if user_id is None:
        assert password is not None  # noqa: S101 - one of the two is there; narrows the type
        user_id = add_user(
            session, name=name, password=password, role=link.role, project_id=link.project_id, email=link.email
        )
    elif find_role(session, user_id, link.project_id) is not None:
        raise AlreadyExists("you are a member of this project already", code="already_member")
    else:
        add_membership(session, user_id, link.project_id, Role(link.role))
    return get_member(session, link.project_id, user_id, include_demo=True)


def is_name_taken(session: Session, name: str, *, include_demo: bool) -> bool:
    """Say whether a user of this name can sign in, or could."""
    if find_name_problem(name) is not None:
        return False
    is_demo = session.scalar(select(User.is_demo).where(User.name == name))
    return is_demo is not None and (include_demo or not is_demo)


def _add(session: Session, row: OneTimeLink, *, lifetime_s: float) -> MadeLink:
    token = make_secret(LINK_PREFIX)
    row.id, row.token_hash = new_id("lnk"), hash_secret(token)
    row.expires_at = session.scalars(select(database_now(lifetime_s))).one()
    session.add(row)
    session.flush()
    return MadeLink(id=row.id, token=token, expires_at=row.expires_at)


def _view(row: OneTimeLink) -> InvitationView:
    return InvitationView(
        id=row.id,
        role=Role(row.role or ""),  # an invitation has one
        email=row.email,
        made_by=row.made_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )


def _refused() -> Refused:
    return Refused("the link is not valid: mistyped, used, or too old; ask for another one", code="link_refused")
