"""Under which names we answer, and which other sites' scripts may read our answers (CORS): by default none."""

from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gaugehouse.config import Settings
from gaugehouse.errors import StartRefused
from gaugehouse.web.problems import write_problem

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
PROBED_PATHS = frozenset({"/health", "/ready"})  # load balancers ask by address, and learn nothing else
ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
ALLOWED_HEADERS = (
    b"authorization, content-encoding, content-type, idempotency-key, last-event-id, x-api-key, x-request-id"
)
EXPOSED_HEADERS = (
    b"idempotency-replayed, link, location, ratelimit, ratelimit-policy, retry-after, x-next-cursor, x-request-id"
)
PREFLIGHT_AGE_S = 600


def read_hosts(settings: Settings) -> frozenset[str]:
    """Return the names that requests may be for, without ports; none means any.

    Demo mode has well-known passwords: a page elsewhere whose name leads to this machine must not use them.
    """
    given = _split(settings.allowed_hosts)
    if not given:
        return frozenset(LOOPBACK_HOSTS) if settings.demo else frozenset()
    own = urlsplit(settings.public_url).hostname if settings.public_url else None
    return frozenset(name.lower() for name in (*given, *([own] if own else [])))


def read_origins(settings: Settings) -> frozenset[bytes]:
    """Return the origins whose scripts may call us.

    Raises:
        StartRefused: one is no origin; `*` is none.
    """
    origins = _split(settings.cors_origins)
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
            raise StartRefused(
                f"GAUGEHOUSE_CORS_ORIGINS names origins such as https://plant.example, not {origin!r}",
                code="origin_refused",
            )
    return frozenset(origin.lower().encode() for origin in origins)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class Sites:
    """Pure ASGI middleware behind the envelope.

    Args:
        app: What answers.
        hosts: Names that requests may be for; none means any.
        origins: Whose scripts may read answers. Never with cookies: they send tokens or keys.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str] = (), origins: Iterable[bytes] = ()) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_socket = scope["type"] == "websocket"
        if not is_socket and (scope["type"] != "http" or not (self._hosts or self._origins)):
            await self._app(scope, receive, send)
            return
        if not self._answers_to(scope):
            detail = "this server does not answer to that name; GAUGEHOUSE_ALLOWED_HOSTS says to which it does"
            refusal = write_problem(scope, HTTPStatus.MISDIRECTED_REQUEST, code="host_refused", detail=detail)
            await refusal(scope, receive, send)
            return
        origin = _find_header(scope, b"origin")
        if is_socket:
            # No browser asks before it opens a socket to another site: who may read is for us to say.
            if origin is not None and not self._is_ours(scope, origin):
                detail = "a page of another site opened this; GAUGEHOUSE_CORS_ORIGINS says which may"
                refusal = write_problem(scope, HTTPStatus.FORBIDDEN, code="origin_refused", detail=detail)
                await refusal(scope, receive, send)
                return
            await self._app(scope, receive, send)
            return
        if origin is None or origin.lower() not in self._origins:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and _find_header(scope, b"access-control-request-method") is not None:
            await Response(None, HTTPStatus.NO_CONTENT, headers=_preflight(origin))(scope, receive, send)
            return
        await self._app(scope, receive, _Shared(send, origin))

    def _is_ours(self, scope: Scope, origin: bytes) -> bool:
        host = _find_header(scope, b"host") or b""
        own = {b"http://" + host.lower(), b"https://" + host.lower()}
        return origin.lower() in self._origins | own

    def _answers_to(self, scope: Scope) -> bool:
        if not self._hosts or scope["path"] in PROBED_PATHS:
            return True
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return len(hosts) == 1 and _without_port(hosts[0].decode("latin-1")).lower() in self._hosts


class _Shared:
    """Sends an answer that the scripts of one origin may read."""

    def __init__(self, send: Send, origin: bytes) -> None:
        self._send = send
        self._origin = origin

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            shared = [
                (b"access-control-allow-origin", self._origin),
                (b"access-control-expose-headers", EXPOSED_HEADERS),
                (b"vary", b"Origin"),
            ]
            message["headers"] = [*message.get("headers", ()), *shared]
        await self._send(message)


def _preflight(origin: bytes) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin.decode("latin-1"),
        "Access-Control-Allow-Methods": ALLOWED_METHODS.decode(),
        "Access-Control-Allow-Headers": ALLOWED_HEADERS.decode(),
        "Access-Control-Max-Age": str(PREFLIGHT_AGE_S),
        "Vary": "Origin",
    }


def _find_header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]
