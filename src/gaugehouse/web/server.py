"""How uvicorn serves the application: what it must not say, log or wait for."""

import gc

import uvicorn
from starlette.types import ASGIApp

from gaugehouse.web.connection import Connection

KEEP_ALIVE_S = 5
DRAIN_S = 8  # after SIGTERM; `serve` promises to be gone within 20 s, flush included


def configure_server(
    app: ASGIApp, *, host: str, port: int, connection: type[Connection] = Connection
) -> uvicorn.Config:
    """Return the server's configuration; logs go where structlog was told to.

    What is loaded by now stays for ever: looking through half a million objects for garbage, again and again, let every
    request of that moment wait for 60 ms.
    """
    gc.collect()
    gc.freeze()
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # the envelope writes one line per request, with its id
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
