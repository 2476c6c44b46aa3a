"""What an endpoint needs for the audit log: who acts, from where, under which request id."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Protocol, TypeVar

import structlog
from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from gaugehouse.access import LOGIN_THROTTLED, Caller, IssuedToken, LockedOut, Reused
from gaugehouse.audit import LOCAL, Heads, Trail
from gaugehouse.errors import Forbidden, GaugehouseError, NotFound, Refused, Throttled, Unauthenticated
from gaugehouse.runtime import Runtime
from gaugehouse.web.pace import counting_strangers, paces_of
from gaugehouse.web.problems import request_id_of, write_error
from gaugehouse.web.security import InRuntime
from gaugehouse.web.threads import Threads
from gaugehouse.web.traffic import route_of

log = structlog.get_logger(__name__)

Proof = TypeVar("Proof")  # what somebody who was let in shows from then on
NOBODY = "unknown"
REFUSED_LOGIN = (Unauthenticated, Forbidden, NotFound, Refused)  # not that the database is away
NAMES_TOLD = 20


class Created(Protocol):
    """Something new with an id and a name."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request comes from; `by` says for whom."""

    heads: Heads
    source: str
    request_id: str

    def by(self, caller: Caller) -> Trail:
        """Return the trail of a caller, in the chain of their project."""
        return Trail(
            heads=self.heads,
            actor_kind=caller.kind,
            actor=caller.name,
            project_id=caller.project_id,
            source=LOCAL if caller.kind == "operator" else self.source,
            request_id=self.request_id,
        )

    def by_nobody(self) -> Trail:
        """Return the trail of somebody who is not known (yet), in the chain of the installation."""
        return Trail(
            heads=self.heads,
            actor_kind=NOBODY,
            actor=NOBODY,
            project_id=None,
            source=self.source,
            request_id=self.request_id,
        )


def origin_of(request: Request, runtime: Runtime) -> Origin:
    """Return where a request comes from."""
    source = paces_of(request).find_address(request.scope)
    return Origin(heads=runtime.heads, source=source, request_id=request_id_of(request.scope))


async def find_origin(request: Request, runtime: InRuntime) -> Origin:
    """Return where this request comes from."""
    return origin_of(request, runtime)


InOrigin = Annotated[Origin, Depends(find_origin)]


def tell_created(trail: Trail, session: Session, action: str, created: Sequence[Created]) -> None:
    """Write one entry for all that one request created; of many the first names."""
    if len(created) == 1:
        trail.tell(session, action, id=created[0].id, name=created[0].name)
        return
    names = [one.name for one in created[:NAMES_TOLD]]
    trail.tell(session, action, details={"count": len(created), "names": names})


def issue_told(runtime: Runtime, origin: Origin, username: str, issue: Callable[[], IssuedToken]) -> IssuedToken:
    """Issue a token as `told_login` does. Blocks."""
    access = runtime.access
    return told_login(runtime, origin, username, issue, lambda issued: access.caller_of_token(issued.access_token))


def told_login(
    runtime: Runtime, origin: Origin, username: str, let_in: Callable[[], Proof], caller_of: Callable[[Proof], Caller]
) -> Proof:
    """Let somebody in, and write down that they signed in or were refused. Blocks.

    Raises:
        Unavailable: the log cannot be written: then nobody signs in.
        GaugehouseError: as `let_in`.
    """
    try:
        proof = let_in()
    except REFUSED_LOGIN as refusal:
        tell_refused_login(runtime, origin, username, refusal)
        raise
    trail = origin.by(caller_of(proof))
    runtime.refusals.note(trail, "login.accept", kind="user", tried="", name=trail.actor)
    return proof


async def refresh_told(request: Request, runtime: Runtime, threads: Threads, refresh_token: str) -> IssuedToken:
    """Issue the next tokens of a session, and write down that it got them or that its token came twice.

    Raises:
        Unauthenticated: as `Access.refresh_token`.
        Throttled: the user asks too often, or too many tokens that do not count came from this address.
    """
    paces = paces_of(request)
    ask = partial(_refresh, runtime, origin_of(request, runtime), refresh_token)
    with counting_strangers(paces, request.scope) as strangers:
        if not runtime.access.met.has(refresh_token):
            strangers.count()
        issued, caller = await run_sync(ask, limiter=threads.callers)
    request.state.caller = caller.name
    paces.admit(request.scope, caller)
    return issued


def _refresh(runtime: Runtime, origin: Origin, refresh_token: str) -> tuple[IssuedToken, Caller]:
    def tell_reuse(session: Session, reused: Reused) -> None:
        trail = replace(origin.by_nobody(), project_id=reused.project_id)
        trail.tell(session, "session.reuse", id=reused.id, name=reused.user_name)

    issued = runtime.access.refresh_token(refresh_token, tell_reuse)
    caller = runtime.access.caller_of_token(issued.access_token)
    trail = origin.by(caller)
    runtime.refusals.note(trail, "token.refresh", kind="user", tried="", name=trail.actor)
    return issued, caller


def tell_refused_login(runtime: Runtime, origin: Origin, username: str, refusal: GaugehouseError) -> None:
    """Write down that a sign-in was refused.

    Both for names that exist and for others it is looked whether they do, and both count the same, so that the time
    tells nobody. A name of nobody is not written down: people type passwords into the wrong field.
    """
    _tell_of_login(runtime, origin, "login.refuse", username, {"code": refusal.code})


def tell_asked_reset(runtime: Runtime, origin: Origin, account: str) -> None:
    """Write down that somebody asked for a new password; whether there is such a user makes no difference to them."""
    _tell_of_login(runtime, origin, "user.ask_reset", account, {})


def tell_lockout(runtime: Runtime, origin: Origin, username: str, locked: LockedOut) -> None:
    """Write down that sign-ins are refused for a while; an address is locked for every name, so it names none."""
    _tell_of_login(runtime, origin, "login.throttle", username if locked == "account" else None, {"locked": locked})


def _tell_of_login(
    runtime: Runtime, origin: Origin, action: str, username: str | None, details: dict[str, object]
) -> None:
    try:
        is_known = username is not None and runtime.access.knows_user(username)
        runtime.refusals.note(
            origin.by_nobody(),
            action,
            kind="user",
            tried=username or "",
            name=username if is_known else None,
            details=details,
        )
    except GaugehouseError as exc:
        log.warning("audit_refusal_lost", code=exc.code)


def tell_refused_request(runtime: Runtime, origin: Origin, caller: Caller, what: str, refusal: Forbidden) -> None:
    """Write down that a caller asked for what they may not do."""
    details = {"code": refusal.code} | {key: refusal.fields[key] for key in ("scopes_needed",) if key in refusal.fields}
    try:
        runtime.refusals.note(
            origin.by(caller), "request.refuse", kind="request", tried=what, name=what, details=details
        )
    except GaugehouseError as exc:
        log.warning("audit_refusal_lost", code=exc.code)


async def _on_forbidden(request: Request, error: Exception) -> Response:
    assert isinstance(error, Forbidden)  # noqa: S101  # registered for this class only; narrows the type
    caller: Caller | None = getattr(request.state, "calling", None)
    if caller is not None:  # else it is a sign-in, which tells of itself
        runtime: Runtime = request.app.state.runtime
        what = f"{request.method} {route_of(request.scope)}"
        tell = partial(tell_refused_request, runtime, origin_of(request, runtime), caller, what, error)
        await run_sync(tell, limiter=request.app.state.threads.callers)
    return write_error(request.scope, error)


async def _on_unauthenticated(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unauthenticated)  # noqa: S101  # registered for this class only; narrows the type
    username: str | None = getattr(request.state, "signing_in", None)
    if username is not None:  # HTTP Basic, which has no endpoint of its own that could tell of it
        runtime: Runtime = request.app.state.runtime
        tell = partial(tell_refused_login, runtime, origin_of(request, runtime), username, error)
        await run_sync(tell, limiter=request.app.state.threads.callers)
    return write_error(request.scope, error)


async def _on_throttled(request: Request, error: Exception) -> Response:
    assert isinstance(error, Throttled)  # noqa: S101  # registered for this class only; narrows the type
    username: str | None = getattr(request.state, "guessing", None)
    if username is not None and error.code == LOGIN_THROTTLED:
        runtime: Runtime = request.app.state.runtime
        origin = origin_of(request, runtime)
        locked = runtime.access.find_new_lockout(username, origin.source)
        if locked is not None:  # the next million waits for no thread
            tell = partial(tell_lockout, runtime, origin, username, locked)
            await run_sync(tell, limiter=request.app.state.threads.callers)
    return write_error(request.scope, error)


def install_audit(app: FastAPI) -> None:
    """Make `app` write down what it forbids, and whom it does not let in."""
    app.add_exception_handler(Forbidden, _on_forbidden)
    app.add_exception_handler(Unauthenticated, _on_unauthenticated)
    app.add_exception_handler(Throttled, _on_throttled)
