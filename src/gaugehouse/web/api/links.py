"""One-time links: invitations to a project, and leave to set a forgotten password."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from gaugehouse.access import (
    InvitationView,
    LinkKind,
    MadeLink,
    MemberView,
    find_open_link,
    invite,
    is_name_taken,
    join_project,
    load_invitations,
    make_resets,
    prepare_password,
    replace_password,
    use_link,
    withdraw_invitation,
)
from gaugehouse.inventory import Page
from gaugehouse.reports.mail import MailServer, Note, send_note
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.lists import ListCursor, ListLimit
from gaugehouse.web.auditing import InOrigin, Origin, tell_asked_reset
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.pace import paces_of
from gaugehouse.web.postman import postman_of
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import Admin, InRuntime
from gaugehouse.web.threads import InThreads

log = structlog.get_logger(__name__)
router = APIRouter(tags=["members"])

PUBLIC_CHANGING = (422, 429, 503, 507)
SENT_BY = "password-reset"


class LinkView(BaseModel):
    """A one-time link. It is shown now and never again."""

    id: str
    token: str = Field(examples=["ghl_..."], description="The secret: whoever has it may use it, once")
    link: str | None = Field(None, description="Where to use it, when the server knows its own address")
    expires_at: datetime
    is_mailed: bool = Field(False, description="Whether it was handed to the mail server as well")


class InvitationBody(EdgeBody):
    """Whom to invite."""

    role: str = Field(examples=["viewer"], description="viewer, manager or admin")
    email: str | None = Field(None, examples=["anna@example.com"], description="Where to send it")


class AcceptBody(EdgeBody):
    """Who accepts an invitation."""

    token: str = Field(description="Of the link")
    name: str = Field(description="A new name; or your own, with your own password, if you are a user already")
    password: str


class ResetBody(EdgeBody):
    """Whose password is forgotten."""

    account: str = Field(description="Name of the user, or the address that we know of them")


class NewPasswordBody(EdgeBody):
    """A new password."""

    token: str = Field(description="Of the link")
    password: str = Field(description="12-256 characters, none of the common ones")


def link_view(
    runtime: Runtime, link: MadeLink, kind: Literal["invitation", "reset"], *, is_mailed: bool = False
) -> LinkView:
    """Return a link to be shown; its token stands behind a #, which browsers send to nobody."""
    base = runtime.settings.public_url
    address = None if base is None else f"{base.rstrip('/')}/b/account#{kind}={link.token}"
    return LinkView(id=link.id, token=link.token, link=address, expires_at=link.expires_at, is_mailed=is_mailed)


@router.post(
    "/v1/invitations",
    status_code=201,
    summary="Invite somebody",
    operation_id="create_invitation",
    responses=refusals(*CHANGING, *WITH_BODY, 409),
)
def create_invitation(
    request: Request, runtime: InRuntime, caller: Admin, origin: InOrigin, body: InvitationBody
) -> LinkView:
    """Make a link by which somebody becomes a member within three days; it is mailed when a mail server is set."""
    with runtime.database.transaction() as session:
        link = invite(session, project_id=caller.project_id, role=body.role, email=body.email, made_by=caller.name)
        origin.by(caller).tell(session, "invitation.create", id=link.id, details={"role": body.role})
    server = MailServer.from_settings(runtime.settings)
    shown = link_view(runtime, link, "invitation", is_mailed=server is not None and body.email is not None)
    if server is not None and body.email is not None:
        text = f"{caller.name} invites you to the project {caller.project} of Gaugehouse, as {body.role}."
        note = Note(id=link.id, address=body.email, subject="An invitation", text=_write(text, shown))
        postman_of(request).send(partial(send_note, note, server, now=datetime.now(UTC)))
    return shown


@router.get(
    "/v1/invitations", summary="List invitations", operation_id="find_invitations", responses=refusals(*SECURED)
)
def list_invitations(
    runtime: InRuntime, caller: Admin, limit: ListLimit = 100, cursor: ListCursor = None
) -> Page[InvitationView]:
    """Return the invitations to the project, the newest first; the links themselves are not kept."""
    with runtime.database.reading() as session:
        return load_invitations(session, caller.project_id, limit=limit, cursor=cursor)


@router.delete(
    "/v1/invitations/{invitation_id}",
    summary="Withdraw an invitation",
    operation_id="withdraw_invitation",
    responses=refusals(*CHANGING, 404),
)
def withdraw(runtime: InRuntime, caller: Admin, origin: InOrigin, invitation_id: str) -> InvitationView:
    """Let an invitation that nobody used count no more."""
    with runtime.database.transaction() as session:
        gone = withdraw_invitation(session, caller.project_id, invitation_id)
        origin.by(caller).tell(session, "invitation.withdraw", id=gone.id, details={"role": gone.role})
    return gone


@router.post(
    "/v1/invitations/accept",
    summary="Accept an invitation",
    operation_id="accept_invitation",
    responses=refusals(*WITH_BODY, *PUBLIC_CHANGING, 401, 409),
)
async def accept_invitation(
    request: Request, runtime: InRuntime, threads: InThreads, origin: InOrigin, body: AcceptBody
) -> MemberView:
    """Become a member by a link: as a new user, or as the one you are. Needs no credentials but the link."""
    paces_of(request).admit_link(request.scope)
    request.state.signing_in = request.state.guessing = body.name
    return await threads.sign_ins.run(partial(_accept, runtime, origin, body))


def _accept(runtime: Runtime, origin: Origin, body: AcceptBody) -> MemberView:
    with runtime.database.reading() as session:
        find_open_link(session, body.token, LinkKind.INVITATION)  # first: whoever has none learns nothing of names
        is_known = is_name_taken(session, body.name, include_demo=runtime.settings.demo)
    user_id = password = None
    if is_known:
        user_id = runtime.access.check_password(body.name, body.password, address=origin.source)
    else:
        password = prepare_password(body.password, user_name=body.name)
    with runtime.database.transaction() as session:
        link = use_link(session, body.token, LinkKind.INVITATION)
        member = join_project(session, link, name=body.name, user_id=user_id, password=password)
        trail = replace(origin.by_nobody(), actor_kind="user", actor=member.name, project_id=link.project_id)
        details = {"invitation": link.id, "role": member.role}
        trail.tell(session, "invitation.accept", id=member.id, name=member.name, details=details)
    return member


@router.post(
    "/v1/password-reset",
    status_code=202,
    summary="Forgot a password",
    operation_id="ask_password_reset",
    response_class=Response,
    responses=refusals(*WITH_BODY, *PUBLIC_CHANGING),
)
def ask_reset(request: Request, runtime: InRuntime, origin: InOrigin, body: ResetBody) -> Response:
    """Send a link for a new password to the user's address, if there are such a user, address and mail server.

    The answer is the same whether there are or not, and comes as fast.
    """
    paces_of(request).admit_link(request.scope)
    tell_asked_reset(runtime, origin, body.account)
    postman_of(request).send(partial(_send_resets, runtime, body.account))
    return Response(status_code=202)


def _send_resets(runtime: Runtime, account: str) -> None:
    server = MailServer.from_settings(runtime.settings)
    if server is None:
        log.warning("password_reset_without_mail_server")
        return
    with runtime.database.transaction() as session:
        resets = make_resets(session, account, made_by=SENT_BY)
    for reset in resets:
        text = f"Somebody, you we hope, asked for a new password of the user {reset.user_name} of Gaugehouse."
        shown = link_view(runtime, reset.link, "reset")
        note = Note(id=reset.link.id, address=reset.email, subject="A new password", text=_write(text, shown))
        send_note(note, server, now=datetime.now(UTC))


@router.post(
    "/v1/password-reset/confirm",
    status_code=204,
    summary="Set a new password",
    operation_id="confirm_password_reset",
    responses=refusals(*WITH_BODY, *PUBLIC_CHANGING),
)
async def confirm_reset(
    request: Request, runtime: InRuntime, threads: InThreads, origin: InOrigin, body: NewPasswordBody
) -> Response:
    """Set a new password by a link; all tokens of the user end within a second. Needs no credentials but the link."""
    paces_of(request).admit_link(request.scope)
    await threads.sign_ins.run(partial(_confirm, runtime, origin, body))
    return Response(status_code=204)


def _confirm(runtime: Runtime, origin: Origin, body: NewPasswordBody) -> None:
    with runtime.database.reading() as session:
        link = find_open_link(session, body.token, LinkKind.RESET)
    assert link.user_id is not None and link.user_name is not None  # noqa: S101, PT018 - a reset has both
    password = prepare_password(body.password, user_name=link.user_name)
    with runtime.database.transaction() as session:
        use_link(session, body.token, LinkKind.RESET)
        replace_password(session, link.user_id, password)
        trail = replace(origin.by_nobody(), actor_kind="user", actor=link.user_name)
        trail.tell(session, "user.reset", id=link.user_id, name=link.user_name)


def _write(text: str, shown: LinkView) -> str:
    where = shown.link or f"Its code, for whoever runs the server to tell you what to do with: {shown.token}"
    until = f"It counts once, until {shown.expires_at:%Y-%m-%d %H:%M} UTC. If this is not for you, leave it alone."
    return f"{text}\n\n{where}\n\n{until}\n"
