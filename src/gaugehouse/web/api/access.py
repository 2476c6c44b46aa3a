"""Tokens, and who a caller is."""

from typing import Annotated, Literal

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel, Field

from gaugehouse.errors import Throttled
from gaugehouse.web.problems import SECURED, refusals
from gaugehouse.web.security import Anyone, InRuntime

HASHES_AT_ONCE = 2  # one argon2id hash takes 19 MiB and 32 ms of a core
WAITING_LOGINS = 16  # half a second of queue; more is an attack or a stampede

router = APIRouter(tags=["access"])


class Token(BaseModel):
    """An OAuth2 token response (RFC 6749, 5.1)."""

    access_token: str = Field(description="Send it as `Authorization: Bearer ...`")
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # the name of a scheme
    expires_in: int = Field(examples=[900], description="Lifetime [s]")
    scope: str = Field(examples=["user manager"], description="What the token may do, separated by spaces")


class Identity(BaseModel):
    """Whom these credentials stand for."""

    kind: str = Field(examples=["user"], description="user, key or operator")
    name: str = Field(examples=["manager"])
    project: str = Field(examples=["default"])
    scopes: list[str] = Field(examples=[["manager", "user"]])
    component: str | None = Field(None, description="The one component that a device key is bound to")


class LoginQueue:
    """Lets few passwords be checked at once, a few more wait, and turns the rest away."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(HASHES_AT_ONCE)

    def admit(self) -> anyio.CapacityLimiter:
        """Return the limiter to run under.

        Raises:
            Throttled: Too many are waiting already.
        """
        if self._limiter.statistics().tasks_waiting >= WAITING_LOGINS:
            raise Throttled("Too many sign-ins at once; try again in a second", code="too_many_logins", retry_after_s=1)
        return self._limiter


async def find_login_queue(request: Request) -> LoginQueue:
    """Return the one queue of this process; `create_app` put it there."""
    queue: LoginQueue = request.app.state.login_queue
    return queue


@router.post("/token", summary="Sign in", operation_id="sign_in", responses=refusals(400, 401, 403, 422, 429))
async def sign_in(
    runtime: InRuntime,
    queue: Annotated[LoginQueue, Depends(find_login_queue)],
    response: Response,
    form: Annotated[OAuth2PasswordRequestForm, Depends()],
    project: Annotated[str | None, Form(description="Slug; not needed by members of one project")] = None,
) -> Token:
    """Exchange a name and a password for a token. Scopes that are not yours are refused; without any you get all."""
    limiter = queue.admit()
    issued = await run_sync(
        runtime.access.issue_token, form.username, form.password, form.scopes, project, limiter=limiter
    )
    response.headers["Pragma"] = "no-cache"
    scope = " ".join(sorted(issued.scopes))
    return Token(access_token=issued.access_token, expires_in=issued.expires_in_s, scope=scope)


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
