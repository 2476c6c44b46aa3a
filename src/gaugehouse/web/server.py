"""How uvicorn serves the application: what it must not say, log or wait for."""

import uvicorn
from starlette.types import ASGIApp

KEEP_ALIVE_S = 5
DRAIN_S = 8  # after SIGTERM; `serve` promises to be gone within 20 s, flush included
MAX_HEADER_BYTES = 64 * 1024
MAX_CONNECTIONS = 1000  # beyond it uvicorn answers 503 at once


def configure_server(app: ASGIApp, *, host: str, port: int) -> uvicorn.Config:
    """Return the server's configuration; logs go where structlog was told to."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # the envelope writes one line per request, with its id
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
