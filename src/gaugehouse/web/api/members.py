"""Members of a project, for its admins: who is in it, and as what."""

from functools import partial

from fastapi import APIRouter
from pydantic import Field

from gaugehouse.access import (
    Caller,
    MemberView,
    add_user,
    change_member,
    check_user_name,
    get_member,
    is_elsewhere,
    load_members,
    make_reset,
    prepare_password,
    remove_member,
)
from gaugehouse.errors import Forbidden
from gaugehouse.inventory import Page
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.links import LinkView, link_view
from gaugehouse.web.api.lists import ListCursor, ListLimit
from gaugehouse.web.auditing import InOrigin, Origin
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import Admin, InRuntime
from gaugehouse.web.threads import InThreads

router = APIRouter(prefix="/v1/members", tags=["members"])

ROLES = "viewer, manager or admin"


class NewMemberBody(EdgeBody):
    """A user to create, as a member of the project."""

    name: str = Field(examples=["anna"], description="1-200 characters, without a colon; never changes")
    password: str = Field(description="12-256 characters, none of the common ones; better: send an invitation")
    role: str = Field(examples=["viewer"], description=ROLES)


class MemberChanges(EdgeBody):
    """What is to change."""

    role: str = Field(examples=["manager"], description=ROLES)


@router.get("", summary="List members", operation_id="find_members", responses=refusals(*SECURED))
def list_members(
    runtime: InRuntime, caller: Admin, limit: ListLimit = 100, cursor: ListCursor = None
) -> Page[MemberView]:
    """Return the members of the project, by name."""
    with runtime.database.reading() as session:
        return load_members(session, caller.project_id, include_demo=runtime.settings.demo, limit=limit, cursor=cursor)


@router.post(
    "",
    status_code=201,
    summary="Create a member",
    operation_id="create_member",
    responses=refusals(*CHANGING, *WITH_BODY, 409),
)
async def create_member(
    runtime: InRuntime, threads: InThreads, caller: Admin, origin: InOrigin, body: NewMemberBody
) -> MemberView:
    """Create a user of the service as a member of the project. Who is a user already is invited instead."""
    return await threads.sign_ins.run(partial(_create, runtime, origin, caller, body))


def _create(runtime: Runtime, origin: Origin, caller: Caller, body: NewMemberBody) -> MemberView:
    check_user_name(body.name)
    prepared = prepare_password(body.password, user_name=body.name)
    with runtime.database.transaction() as session:
        user_id = add_user(session, name=body.name, password=prepared, role=body.role, project_id=caller.project_id)
        origin.by(caller).tell(session, "user.create", id=user_id, name=body.name, details={"role": body.role})
        return get_member(session, caller.project_id, user_id, include_demo=False)


@router.patch(
    "/{member}",
    summary="Change a member's role",
    operation_id="change_member",
    responses=refusals(*CHANGING, *WITH_BODY, 404, 409),
)
def change_role(runtime: InRuntime, caller: Admin, origin: InOrigin, member: str, body: MemberChanges) -> MemberView:
    """Give a member, by name or id, another role; it holds within a second. The last admin stays one."""
    is_demo = runtime.settings.demo
    with runtime.database.transaction() as session:
        before = get_member(session, caller.project_id, member, include_demo=is_demo)
        changed = change_member(session, caller.project_id, before.id, role=body.role, include_demo=is_demo)
        details = {"from": before.role, "to": changed.role}
        origin.by(caller).tell(session, "member.change", id=changed.id, name=changed.name, details=details)
    return changed


@router.delete(
    "/{member}", summary="Remove a member", operation_id="remove_member", responses=refusals(*CHANGING, 404, 409)
)
def remove(runtime: InRuntime, caller: Admin, origin: InOrigin, member: str) -> MemberView:
    """Take a member out of the project; tokens and personal keys for it end within a second. The last admin stays."""
    with runtime.database.transaction() as session:
        removed = remove_member(session, caller.project_id, member, include_demo=runtime.settings.demo)
        details = {"role": removed.role}
        origin.by(caller).tell(session, "member.remove", id=removed.id, name=removed.name, details=details)
    return removed


@router.post(
    "/{member}/password-reset",
    status_code=201,
    summary="Make a link for a new password",
    operation_id="reset_password_of_member",
    responses=refusals(*CHANGING, 404),
)
def make_reset_link(runtime: InRuntime, caller: Admin, origin: InOrigin, member: str) -> LinkView:
    """Make a link by which a member sets a new password within an hour; it is shown only now.

    Not of a member of other projects, whose admins have not been asked: they ask for a link themselves.
    """
    with runtime.database.transaction() as session:
        view = get_member(session, caller.project_id, member, include_demo=False)
        if caller.kind != "operator" and is_elsewhere(session, view.id, caller.project_id):
            raise Forbidden("this member belongs to other projects too; they reset it themselves", code="not_yours")
        link = make_reset(session, view.id, made_by=caller.name)
        origin.by(caller).tell(session, "user.reset_link", id=view.id, name=view.name)
    return link_view(runtime, link, "reset")
