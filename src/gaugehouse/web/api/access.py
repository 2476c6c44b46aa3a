"""Tokens, and who a caller is."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Form, Request, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel, Field

from gaugehouse.access import (
    Caller,
    IssuedToken,
    Scope,
    end_session,
    end_sessions,
    get_member_id,
    revoke_user,
)
from gaugehouse.errors import Forbidden
from gaugehouse.web.auditing import InOrigin, issue_told, refresh_told
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import Anyone, InRuntime
from gaugehouse.web.threads import InThreads

router = APIRouter(tags=["access"])


class Token(BaseModel):
    """An OAuth2 token response (RFC 6749, 5.1)."""

    access_token: str = Field(description="Send it as `Authorization: Bearer ...`")
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # the name of a scheme
    expires_in: int = Field(examples=[900], description="Lifetime [s]")
    scope: str = Field(examples=["user manager"], description="What the token may do, separated by spaces")
    refresh_token: str = Field(description="Buys the next tokens at `POST /v1/token/refresh`, once; keep it secret")


class RefreshBody(EdgeBody):
    """The newest refresh token of a session."""

    refresh_token: str = Field(max_length=256, examples=["ghr_" + 43 * "0"])


class LeaveBody(EdgeBody):
    """Whose sessions to end."""

    user: str | None = Field(None, description="Of a member of the project, by an admin; without it your own")


class Ended(BaseModel):
    """How many sessions there were."""

    sessions: int = Field(examples=[2])


class Identity(BaseModel):
    """Whom these credentials stand for."""

    kind: str = Field(examples=["user"], description="user, key or operator")
    name: str = Field(examples=["manager"])
    project: str = Field(examples=["default"])
    scopes: list[str] = Field(examples=[["manager", "user"]])
    component: str | None = Field(None, description="The one component that a device key is bound to")


@router.post(
    "/token", summary="Sign in", operation_id="sign_in", responses=refusals(*WITH_BODY, 401, 403, 404, 422, 429, 503)
)
async def sign_in(
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    origin: InOrigin,
    response: Response,
    form: Annotated[OAuth2PasswordRequestForm, Depends()],
    project: Annotated[str | None, Form(description="Slug; not needed by members of one project")] = None,
) -> Token:
    """Exchange a name and a password for a token. Scopes that are not yours are refused; without any you get all."""
    request.state.guessing = form.username
    runtime.access.refuse_throttled(form.username, origin.source)
    ask = (form.username, form.password, form.scopes, project)
    issue = partial(runtime.access.issue_token, *ask, address=origin.source)
    issued = await threads.sign_ins.run(partial(issue_told, runtime, origin, form.username, issue))
    return _hand_out(issued, response)


def _hand_out(issued: IssuedToken, response: Response) -> Token:
    response.headers["Pragma"] = "no-cache"
    return Token(
        access_token=issued.access_token,
        refresh_token=issued.refresh_token,
        expires_in=issued.expires_in_s,
        scope=" ".join(sorted(issued.scopes)),
    )


@router.post(
    "/v1/token/refresh",
    summary="Get the next tokens",
    operation_id="refresh_token",
    responses=refusals(*WITH_BODY, 401, 422, 429, 503, 507),
)
async def refresh(
    request: Request, runtime: InRuntime, threads: InThreads, response: Response, body: RefreshBody
) -> Token:
    """Exchange a refresh token for new tokens; it counts once, and one that comes again later ends the session."""
    return _hand_out(await refresh_told(request, runtime, threads, body.refresh_token), response)


@router.post("/v1/logout", status_code=204, summary="Sign out", operation_id="sign_out", responses=refusals(*CHANGING))
def sign_out(runtime: InRuntime, caller: Anyone, origin: InOrigin) -> None:
    """End the session of this token: its access and refresh tokens end within a second, on every server."""
    _refuse_without_session(caller)
    with runtime.database.transaction() as session:
        end_session(session, caller.session)
        origin.by(caller).tell(session, "session.end", id=caller.session, name=caller.name)


@router.post(
    "/v1/logout-everywhere",
    summary="End all sessions",
    operation_id="sign_out_everywhere",
    responses=refusals(*CHANGING, *WITH_BODY, 404),
)
def sign_out_everywhere(
    runtime: InRuntime, caller: Anyone, origin: InOrigin, body: Annotated[LeaveBody | None, Body()] = None
) -> Ended:
    """End all your sessions, in every project; an admin ends those that another member has in the project."""
    name = None if body is None else body.user
    if name is None:
        _refuse_without_session(caller)
    elif not caller.may(Scope.ADMIN):
        raise Forbidden("only an admin ends the sessions of others", fields={"scopes_needed": [str(Scope.ADMIN)]})
    with runtime.database.transaction() as session:
        if name is None:
            ended = revoke_user(session, name=caller.name)
        else:
            user_id = get_member_id(session, name=name, project_id=caller.project_id)
            ended = end_sessions(session, user_id=user_id, project_id=caller.project_id)
        origin.by(caller).tell(
            session, "session.end_all", kind="user", name=name or caller.name, details={"sessions": ended}
        )
    return Ended(sessions=ended)


def _refuse_without_session(caller: Caller) -> None:
    if not caller.session:
        raise Forbidden("only who signed in can sign out; keys are revoked", code="no_session")


@router.get("/v1/me", summary="Who am I", operation_id="read_identity", responses=refusals(*SECURED))
def read_identity(caller: Anyone) -> Identity:
    """Return whom these credentials stand for."""
    return Identity(
        kind=caller.kind,
        name=caller.name,
        project=caller.project,
        scopes=sorted(caller.scopes),
        component=caller.component,
    )
