"""Tokens, and who a caller is."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel, Field

from gaugehouse.web.auditing import InOrigin, issue_told
from gaugehouse.web.problems import SECURED, WITH_BODY, refusals
from gaugehouse.web.security import Anyone, InRuntime
from gaugehouse.web.threads import InThreads

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
