"""Pages to sign in and out with a browser: a cookie instead of tokens."""

from functools import partial
from http import HTTPStatus
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import RedirectResponse, Response

from gaugehouse.access import Caller, Started, end_session
from gaugehouse.runtime import Runtime
from gaugehouse.web.auditing import InOrigin, Origin, told_login
from gaugehouse.web.cookies import (
    FORM_COOKIE,
    SESSION_COOKIE,
    check_form,
    choose_nonce,
    clear_cookie,
    form_token_of,
    set_cookie,
)
from gaugehouse.web.pages import AFTER_SIGN_IN, SIGN_IN_PATH, SIGN_OUT_PATH, write_sign_in, write_sign_out
from gaugehouse.web.security import CookieCaller, InRuntime
from gaugehouse.web.threads import InThreads

MAX_FIELD_CHARS = 1024

router = APIRouter(include_in_schema=False)


class SignInForm(BaseModel):
    """What the form of the page sends."""

    model_config = ConfigDict(extra="forbid", str_max_length=MAX_FIELD_CHARS)

    username: str
    password: str
    form_token: str
    project: str = ""


@router.get(SIGN_IN_PATH)
def read_sign_in(request: Request) -> Response:
    """Return the form; a browser that has none gets a cookie that belongs to it."""
    nonce = choose_nonce(request)
    response = write_sign_in(form_token=form_token_of(nonce))
    set_cookie(response, FORM_COOKIE, nonce)
    return response


@router.post(SIGN_IN_PATH)
async def sign_in(
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    origin: InOrigin,
    form: Annotated[SignInForm, Form()],
) -> Response:
    """Start the session of a browser."""
    check_form(request, form.form_token, cookie=FORM_COOKIE)
    request.state.guessing = form.username
    runtime.access.refuse_throttled(form.username, origin.source)
    given = (form.username, form.password, form.project or None)
    start = partial(runtime.access.start_page_session, *given, address=origin.source)
    started = await threads.sign_ins.run(partial(_start_told, runtime, origin, form.username, start))
    response = RedirectResponse(AFTER_SIGN_IN, HTTPStatus.SEE_OTHER)
    set_cookie(response, SESSION_COOKIE, started.secret)
    clear_cookie(response, FORM_COOKIE)
    return response


def _start_told(runtime: Runtime, origin: Origin, username: str, start: partial[Started]) -> Started:
    return told_login(runtime, origin, username, start, lambda one: runtime.access.caller_of_cookie(one.secret))


@router.get(SIGN_OUT_PATH)
async def read_sign_out(request: Request, caller: CookieCaller) -> Response:
    """Say who is signed in, with a button to leave."""
    form_token = form_token_of(request.cookies[SESSION_COOKIE])
    return write_sign_out(name=caller.name, project=caller.project, form_token=form_token)


@router.post(SIGN_OUT_PATH)
async def sign_out(
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    origin: InOrigin,
    caller: CookieCaller,
    form_token: Annotated[str, Form(max_length=MAX_FIELD_CHARS)],
) -> Response:
    """End the session of this browser."""
    check_form(request, form_token, cookie=SESSION_COOKIE)
    await run_sync(partial(_end_told, runtime, origin, caller), limiter=threads.callers)
    response = RedirectResponse(SIGN_IN_PATH, HTTPStatus.SEE_OTHER)
    clear_cookie(response, SESSION_COOKIE)
    return response


def _end_told(runtime: Runtime, origin: Origin, caller: Caller) -> None:
    with runtime.database.transaction() as session:
        end_session(session, caller.session)
        origin.by(caller).tell(session, "session.end", id=caller.session, name=caller.name)
