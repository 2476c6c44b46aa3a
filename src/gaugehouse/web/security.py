"""Who is calling, and may they: the one dependency of every endpoint.

`caller: Reader` in an endpoint's signature is the whole of its access control; the aliases below name every need there
is. A test walks all routes and fails for one that has none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

from anyio.to_thread import run_sync
from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBasic, HTTPBasicCredentials, OAuth2PasswordBearer, SecurityScopes

from gaugehouse.access import KEY_PREFIX, Access, Caller, Scope
from gaugehouse.errors import Forbidden, Unauthenticated
from gaugehouse.runtime import Runtime
from gaugehouse.web.cookies import refuse_cross_site, session_cookie
from gaugehouse.web.pace import StrangerCount, admit_caller, counting_strangers, paces_of
from gaugehouse.web.threads import InThreads, Threads

ROLE_SCOPES = {
    Scope.USER: "Read components, measurements, events and metrics",
    Scope.MANAGER: "Request reports, change the inventory, write measurements",
    Scope.ADMIN: "Keys and members of the project, read the audit log",
}
# Which of the scopes above carries each narrower one: what the docs page asks for on behalf of a person.
CARRIED_BY: dict[Scope, Scope] = {
    Scope.USER: Scope.USER,
    Scope.MEASUREMENTS_READ: Scope.USER,
    Scope.EVENTS_READ: Scope.USER,
    Scope.MANAGER: Scope.MANAGER,
    Scope.MEASUREMENTS_WRITE: Scope.MANAGER,
    Scope.EVENTS_WRITE: Scope.MANAGER,
    Scope.REPORTS_READ: Scope.MANAGER,
    Scope.REPORTS_WRITE: Scope.MANAGER,
    Scope.STATUS_READ: Scope.USER,
    Scope.FIRMWARE_READ: Scope.USER,
    Scope.ACCOUNT: Scope.USER,
    Scope.ADMIN: Scope.ADMIN,
}

bearer_token = OAuth2PasswordBearer(
    tokenUrl="token",
    scopes={str(scope): meaning for scope, meaning in ROLE_SCOPES.items()},
    auto_error=False,
    description="A person: name and password against a token, see `POST /token`",
)
api_key = APIKeyHeader(name="X-API-Key", auto_error=False, description="A device or a program: `gaugehouse key create`")
UNDERSCORED_KEY = "api_key"  # what devices of an older firmware manager send; proxies drop it unless told otherwise
DOCS_REALM = "gaugehouse docs"
basic_login = HTTPBasic(auto_error=False, realm=DOCS_REALM)
BASIC_CHALLENGE = f'Basic realm="{DOCS_REALM}", charset="UTF-8"'


async def find_runtime(request: Request) -> Runtime:
    """Return what this process works with; `create_app` put it there."""
    runtime: Runtime = request.app.state.runtime
    return runtime


InRuntime = Annotated[Runtime, Depends(find_runtime)]


def _choose_key(key: str | None, underscored: str | None) -> str | None:
    """Return the key that was sent under either name."""
    if None not in {key, underscored} and key != underscored:
        raise Unauthenticated("X-API-Key and api_key hold different keys; send one", code="two_credentials")
    return underscored if key is None else key


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a request says about who sends it; a cookie counts only without the others."""

    token: str | None = None
    key: str | None = None
    underscored_key: str | None = None
    cookie: str | None = None

    @property
    def is_cookie_alone(self) -> bool:
        """Whether a browser may have added all there is by itself."""
        return self.token is None and self.key is None and self.underscored_key is None


async def find_credentials(
    request: Request,
    token: Annotated[str | None, Depends(bearer_token)],
    key: Annotated[str | None, Depends(api_key)],
    cookie: Annotated[str | None, Depends(session_cookie)],
) -> Credentials:
    """Return the credentials of a request as they came."""
    return Credentials(token=token, key=key, underscored_key=request.headers.get(UNDERSCORED_KEY), cookie=cookie)


class Way(NamedTuple):
    """How it is found out who somebody is.

    Args:
        ask: Says it; takes `max_age_s`, how old the answer may be.
        is_known: Whether it can say so from memory.
        is_met: Whether what they show has counted before; one that is made up has not.
        key: What they show, if it is an API key.
    """

    ask: Callable[..., Caller]
    is_known: bool
    is_met: bool
    key: str | None = None


def _find_way(access: Access, given: Credentials) -> Way:
    """Return what says who that is.

    Raises:
        Unauthenticated: no credentials, two of them, or what is none on sight.
    """
    token, cookie = given.token, given.cookie
    key = _choose_key(given.key, given.underscored_key)
    if token is not None and key is not None:
        raise Unauthenticated("send a token or an API key, not both", code="two_credentials")
    if token is not None and token.startswith(KEY_PREFIX):
        token, key = None, token
    if token is not None:
        # A signature tells a forged one, before anything is asked.
        return Way(partial(access.caller_of_token, token), access.knows_token(token), is_met=True)
    if key is not None:
        return Way(partial(access.caller_of_key, key), access.knows_key(key), access.met.has(key), key)
    if cookie is not None:
        return Way(partial(access.caller_of_cookie, cookie), access.knows_cookie(cookie), access.met.has(cookie))
    raise Unauthenticated("send Authorization: Bearer with a token from POST /token, or X-API-Key")


async def identify(access: Access, threads: Threads, given: Credentials, strangers: StrangerCount) -> Caller:
    """Return who that is; only what the database must be asked about waits for a thread.

    Raises:
        Unauthenticated: nobody, or nobody any more.
        Throttled: what they show never counted, and too much of that came from this address: nobody was asked.
    """
    way = _find_way(access, given)
    if way.is_known:
        return way.ask()
    if way.key is not None and not way.is_met and not strangers.has_room and access.met.may_find_keys:
        await run_sync(access.met.look_for_keys, limiter=threads.callers)
    if not way.is_met:
        _count_unless_met(access, way.key, strangers)
    return await run_sync(way.ask, limiter=threads.callers)


def _count_unless_met(access: Access, key: str | None, strangers: StrangerCount) -> None:
    """Count who may be making things up; not for a key that was met only now, at an address that may show no more."""
    if strangers.has_room or key is None or not access.met.has(key):
        strangers.count()


def find_caller_of_key(access: Access, key: str, strangers: StrangerCount) -> Caller:
    """Return who a key stands for, where nothing but a key counts. Blocks; raises as `identify`."""
    if not access.knows_key(key) and not access.met.has(key):
        if not strangers.has_room:
            access.met.look_for_keys()
        _count_unless_met(access, key, strangers)
    return access.caller_of_key(key)


def identify_again(access: Access, given: Credentials, max_age_s: float) -> Caller:
    """Return who that still is, by an answer at most so old [s]. Blocks; raises as `identify`."""
    return _find_way(access, given).ask(max_age_s=max_age_s)


async def authorize(
    wanted: SecurityScopes,
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    given: Annotated[Credentials, Depends(find_credentials)],
) -> Caller:
    """Return the caller of this request if it may do what the endpoint does.

    Raises:
        Unauthenticated: No credentials, or none that count (any more).
        Forbidden: Valid credentials without the scope, or a cookie that another site made the browser send.
        Throttled: The caller asks too often; without valid credentials, too much of that came from this address.
    """
    with counting_strangers(paces_of(request), request.scope) as strangers:
        caller = await identify(runtime.access, threads, given, strangers)
    admit_caller(request, caller)
    if given.is_cookie_alone:
        refuse_cross_site(request)
    lacking = [scope for scope in wanted.scopes if not caller.may(Scope(scope))]
    if lacking:
        raise Forbidden(f"this needs the scope {lacking[0]}", fields={"scopes_needed": lacking})
    return caller


Anyone = Annotated[Caller, Security(authorize, scopes=[])]
MeasurementReader = Annotated[Caller, Security(authorize, scopes=[Scope.MEASUREMENTS_READ])]
MeasurementWriter = Annotated[Caller, Security(authorize, scopes=[Scope.MEASUREMENTS_WRITE])]
EventReader = Annotated[Caller, Security(authorize, scopes=[Scope.EVENTS_READ])]
EventWriter = Annotated[Caller, Security(authorize, scopes=[Scope.EVENTS_WRITE])]
ReportReader = Annotated[Caller, Security(authorize, scopes=[Scope.REPORTS_READ])]
ReportWriter = Annotated[Caller, Security(authorize, scopes=[Scope.REPORTS_WRITE])]
StatusReader = Annotated[Caller, Security(authorize, scopes=[Scope.STATUS_READ])]
FirmwareReader = Annotated[Caller, Security(authorize, scopes=[Scope.FIRMWARE_READ])]
Person = Annotated[Caller, Security(authorize, scopes=[Scope.ACCOUNT])]
Admin = Annotated[Caller, Security(authorize, scopes=[Scope.ADMIN])]
Manager = Annotated[Caller, Security(authorize, scopes=[Scope.MANAGER])]


async def authorize_cookie(
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    cookie: Annotated[str | None, Depends(session_cookie)],
) -> Caller:
    """Return whose browser this is.

    Raises:
        Unauthenticated: Nobody is signed in with it.
        Throttled: Too many requests.
    """
    return await authorize(SecurityScopes(), request, runtime, threads, Credentials(cookie=cookie))


CookieCaller = Annotated[Caller, Depends(authorize_cookie)]


async def _find_browser(request: Request, access: Access, threads: Threads, cookie: str | None) -> Caller | None:
    """Return whose browser that is; a cookie that has ended is as good as none, but counts as what it is."""
    if cookie is None:
        return None
    try:
        with counting_strangers(paces_of(request), request.scope) as strangers:
            return await identify(access, threads, Credentials(cookie=cookie), strangers)
    except Unauthenticated:
        return None


async def authorize_docs(
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    token: Annotated[str | None, Depends(bearer_token)],
    login: Annotated[HTTPBasicCredentials | None, Depends(basic_login)],
    cookie: Annotated[str | None, Depends(session_cookie)],
) -> bool:
    """Let everybody see the docs in demo mode, else anybody who can sign in; programs may use HTTP Basic.

    Returns:
        False for a browser in which nobody is signed in: it is to be led to the page for that.

    Raises:
        Unauthenticated: Outside demo mode without valid credentials.
        Throttled: Too many sign-ins at once, or too many wrong passwords.
    """
    if runtime.settings.demo:
        return True
    if token is not None:
        with counting_strangers(paces_of(request), request.scope):
            caller = await run_sync(runtime.access.caller_of_token, token, limiter=threads.callers)
    elif login is not None:
        request.state.signing_in = request.state.guessing = login.username
        address = paces_of(request).find_address(request.scope)
        runtime.access.refuse_throttled(login.username, address)
        ask = partial(runtime.access.caller_of_password, login.username, login.password, address=address)
        caller = await threads.sign_ins.run(ask)
    elif (browser := await _find_browser(request, runtime.access, threads, cookie)) is not None:
        caller = browser
    elif "text/html" in request.headers.get("accept", ""):
        return False
    else:
        raise Unauthenticated("the docs need a login", code="login_needed", fields={"challenge": BASIC_CHALLENGE})
    request.state.caller = caller.name
    return True
