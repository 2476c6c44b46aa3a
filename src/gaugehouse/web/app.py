"""One runtime becomes one ASGI application."""

from fastapi import Depends
from starlette.middleware import Middleware

from gaugehouse.runtime import Runtime
from gaugehouse.web import docs
from gaugehouse.web.api import ROUTERS, influx, legacy_firmware, legacy_readings, legacy_status
from gaugehouse.web.api.live_socket import LiveSockets
from gaugehouse.web.auditing import install_audit
from gaugehouse.web.body import BodyGuard
from gaugehouse.web.envelope import Envelope
from gaugehouse.web.openapi import Api, describe
from gaugehouse.web.pace import Paces
from gaugehouse.web.postman import Postman
from gaugehouse.web.problems import install_error_table
from gaugehouse.web.query_fields import refuse_stray_fields
from gaugehouse.web.reads import ReadGate
from gaugehouse.web.short_targets import ShortTargets
from gaugehouse.web.sign_in import router as sign_in_router
from gaugehouse.web.sites import Sites, read_hosts, read_origins
from gaugehouse.web.small import SmallDeliveries
from gaugehouse.web.standings import Standings
from gaugehouse.web.threads import Threads
from gaugehouse.web.traffic import Traffic

INGEST_PATHS = frozenset({"/v1/measurements", "/v1/events"}) | influx.INGEST_PATHS
WRITE_PATHS = INGEST_PATHS | {legacy_status.PATH, legacy_readings.CREATE_PATH, legacy_firmware.UPLOAD_PATH}


def is_write(path: str) -> bool:
    """Say whether a POST there counts as a delivery, which has limits of its own."""
    return path in WRITE_PATHS or path.startswith(f"{legacy_firmware.PATH}/")


def _stay() -> bool:
    return False


def create_app(runtime: Runtime) -> Api:
    """Return the application; it owns nothing: whoever made the runtime closes it."""
    settings = runtime.settings
    traffic = Traffic()
    paces = Paces(settings, is_write=is_write)
    standings = Standings(runtime, paces)
    app = Api(
        **describe(),
        docs_url=None,  # ours is in web/docs.py: FastAPI's loads from a CDN and has an inline script
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirect would build an absolute address from the caller's Host header
        dependencies=[Depends(refuse_stray_fields)],
        middleware=[
            Middleware(Envelope, traffic=traffic),
            Middleware(Sites, hosts=read_hosts(settings), origins=read_origins(settings)),
            Middleware(
                BodyGuard,
                limit_bytes=settings.body_limit_bytes,
                timeout_s=settings.body_timeout_s,
                ingest_paths=INGEST_PATHS,
            ),
            Middleware(ReadGate),
            Middleware(SmallDeliveries, runtime=runtime, paces=paces, standings=standings),
            Middleware(ShortTargets, runtime=runtime, paces=paces, standings=standings),
        ],
    )
    app.state.runtime = runtime
    app.state.traffic = traffic
    app.state.paces = paces
    app.state.threads = Threads()
    app.state.postman = Postman()
    app.state.is_leaving = _stay  # who serves the application says when requests should wait for nothing any more
    install_error_table(app)
    install_audit(app)
    app.include_router(docs.router)
    app.include_router(sign_in_router)
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.append(LiveSockets(app).route())
    app.mount("/static", docs.CachedFiles(directory=docs.STATIC_DIR), name="static")
    return app
