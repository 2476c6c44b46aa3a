"""How uvicorn serves the application: what it must not say, log or wait for."""

import ssl

import uvicorn
from starlette.types import ASGIApp

from gaugehouse.web.connection import Connection
from gaugehouse.web.sockets import MESSAGE_LIMIT_BYTES, Socket

KEEP_ALIVE_S = 5
SWITCH_INTERVAL_S = 0.001  # the event loop is never idle under load: who writes for 64 senders would wait 5 ms a step
DRAIN_S = 8  # after SIGTERM; `serve` promises to be gone within 20 s, flush included


def configure_server(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    connection: type[Connection] = Connection,
    tls: ssl.SSLContext | None = None,
) -> uvicorn.Config:
    """Return the server's configuration; logs go where structlog was told to."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=connection,
        ws=Socket,
        ws_max_size=MESSAGE_LIMIT_BYTES,
        ws_per_message_deflate=False,  # memory per connection, and lengths that tell of secrets (decision 15)
        lifespan="off",
        log_config=None,
        access_log=False,  # the envelope writes one line per request, with its id
        server_header=False,
        proxy_headers=False,
        ssl_context_factory=None if tls is None else lambda _config, _make: tls,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
