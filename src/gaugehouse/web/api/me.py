"""What people do about themselves: their personal keys, sessions, password. Tokens only: no key does any of it."""

from functools import partial

from fastapi import APIRouter, Request, Response
from pydantic import Field

from gaugehouse.access import (
    ApiKeyView,
    Caller,
    MadeApiKey,
    SessionView,
    add_api_key,
    end_own_session,
    get_api_key,
    load_api_keys,
    load_sessions,
    prepare_password,
    replace_password,
    revoke_api_key,
    rotate_api_key,
)
from gaugehouse.errors import Forbidden, Refused
from gaugehouse.inventory import Page
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.keys import DAY_S, NewKeyBody, OverlapS, tell_made, tell_rotated
from gaugehouse.web.api.lists import ListCursor, ListLimit
from gaugehouse.web.auditing import InOrigin, Origin
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import InRuntime, Person
from gaugehouse.web.threads import InThreads

router = APIRouter(prefix="/v1/me", tags=["access"])


def _user_id(caller: Caller) -> str:
    """Return the id of the user.

    Raises:
        Refused: it is the operator of the machine, who is nobody.
    """
    if caller.kind != "user":
        raise Refused("the operator of the machine has no keys or password of their own", code="no_user")
    return caller.id


def _refuse_beyond(caller: Caller, made: MadeApiKey) -> None:
    """Refuse a key that may more than who asks for it: a token of few scopes must not buy the others of its user.

    Raises:
        Forbidden: the token or cookie lacks a scope of the key (`scope_not_granted`); nothing was made.
    """
    beyond = [scope for scope in made.view.scopes if not caller.may(scope)]
    if beyond:
        raise Forbidden(
            f"the key may {beyond[0]}, and these credentials may not; sign in for more, or ask for less",
            code="scope_not_granted",
            fields={"scopes_needed": [str(scope) for scope in beyond]},
        )


@router.get("/keys", summary="List my keys", operation_id="find_my_keys", responses=refusals(*SECURED))
def list_my_keys(
    runtime: InRuntime, caller: Person, limit: ListLimit = 100, cursor: ListCursor = None
) -> Page[ApiKeyView]:
    """Return the caller's personal keys for this project, the newest first."""
    with runtime.database.reading() as session:
        return load_api_keys(session, caller.project_id, owner_id=_user_id(caller), limit=limit, cursor=cursor)


@router.post(
    "/keys",
    status_code=201,
    summary="Make a personal key",
    operation_id="create_my_key",
    responses=refusals(*CHANGING, *WITH_BODY, 404, 409),
)
def create_my_key(runtime: InRuntime, caller: Person, origin: InOrigin, body: NewKeyBody) -> MadeApiKey:
    """Make a key that may what it is given and the caller may, as long as they are a member; shown only now."""
    with runtime.database.transaction() as session:
        made = add_api_key(session, body.as_new(), project_id=caller.project_id, owner_id=_user_id(caller))
        _refuse_beyond(caller, made)
        origin.by(caller).tell(session, "key.create", id=made.view.id, name=made.view.name, details=tell_made(made))
    return made


@router.post(
    "/keys/{key_id}/rotate",
    status_code=201,
    summary="Replace a personal key",
    operation_id="rotate_my_key",
    responses=refusals(*CHANGING, 404, 409),
)
def rotate_my_key(
    runtime: InRuntime, caller: Person, origin: InOrigin, key_id: str, overlap_s: OverlapS = DAY_S
) -> MadeApiKey:
    """Make a key that may the same and return it, for the only time; the older one ends after the overlap."""
    with runtime.database.transaction() as session:
        made = rotate_api_key(session, caller.project_id, key_id, overlap_s=overlap_s, owner_id=_user_id(caller))
        _refuse_beyond(caller, made)
        old = get_api_key(session, caller.project_id, key_id)
        origin.by(caller).tell(session, "key.rotate", id=old.id, name=old.name, details=tell_rotated(old, made))
    return made


@router.delete(
    "/keys/{key_id}", summary="End a personal key", operation_id="revoke_my_key", responses=refusals(*CHANGING, 404)
)
def revoke_my_key(runtime: InRuntime, caller: Person, origin: InOrigin, key_id: str) -> ApiKeyView:
    """End one of the caller's keys; it is refused within a second."""
    with runtime.database.transaction() as session:
        ended = revoke_api_key(session, caller.project_id, key_id, owner_id=_user_id(caller))
        origin.by(caller).tell(session, "key.revoke", id=ended.id, name=ended.name, details={"owner": ended.owner})
    return ended


@router.get("/sessions", summary="List my sessions", operation_id="find_my_sessions", responses=refusals(*SECURED))
def list_my_sessions(
    runtime: InRuntime, caller: Person, limit: ListLimit = 100, cursor: ListCursor = None
) -> Page[SessionView]:
    """Return the caller's sessions in all projects, the newest first: programs with tokens, browsers with cookies."""
    with runtime.database.reading() as session:
        return load_sessions(
            session,
            _user_id(caller),
            runtime.access.session_limits,
            current=caller.session,
            limit=limit,
            cursor=cursor,
        )


@router.delete(
    "/sessions/{session_id}",
    status_code=204,
    summary="End one of my sessions",
    operation_id="end_my_session",
    responses=refusals(*CHANGING, 404),
)
def end_my_session(runtime: InRuntime, caller: Person, origin: InOrigin, session_id: str) -> None:
    """End a session of the caller's; its tokens or its cookie end within a second, on every server."""
    with runtime.database.transaction() as session:
        end_own_session(session, _user_id(caller), session_id)
        origin.by(caller).tell(session, "session.end", id=session_id, name=caller.name)


class PasswordBody(EdgeBody):
    """The password that is, and the one that is to be."""

    old_password: str
    new_password: str = Field(description="12-256 characters, none of the common ones")


@router.post(
    "/password",
    status_code=204,
    summary="Change my password",
    operation_id="change_my_password",
    responses=refusals(*CHANGING, *WITH_BODY),
)
async def change_my_password(
    request: Request, runtime: InRuntime, threads: InThreads, caller: Person, origin: InOrigin, body: PasswordBody
) -> Response:
    """Change the caller's password; all their tokens end within a second. A wrong old one counts as a sign-in."""
    request.state.signing_in = request.state.guessing = caller.name
    await threads.sign_ins.run(partial(_change_password, runtime, origin, caller, body))
    return Response(status_code=204)


def _change_password(runtime: Runtime, origin: Origin, caller: Caller, body: PasswordBody) -> None:
    _user_id(caller)
    user_id = runtime.access.check_password(caller.name, body.old_password, address=origin.source)
    prepared = prepare_password(body.new_password, user_name=caller.name)
    with runtime.database.transaction() as session:
        replace_password(session, user_id, prepared)
        origin.by(caller).tell(session, "user.password", id=user_id, name=caller.name)
