"""The addresses that Telegraf and the clients of InfluxDB write to. Errors are in their shapes: `influx_errors.py`."""

import base64
from functools import partial
from http import HTTPStatus
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response

from gaugehouse import __version__
from gaugehouse.access import Caller, Scope
from gaugehouse.errors import Forbidden, NotFound, Refused, Unauthenticated
from gaugehouse.ingest import Keep, LineMapping, Precision, Receipt, accept_lines
from gaugehouse.runtime import Runtime
from gaugehouse.web.idempotency import AskedKey, Told, accept_once
from gaugehouse.web.pace import StrangerCount, admit_caller, counting_strangers, paces_of
from gaugehouse.web.security import InRuntime, find_caller_of_key
from gaugehouse.web.threads import InThreads, Threads

router = APIRouter(include_in_schema=False)  # told in docs/line-protocol.md: their shapes are not ours
INGEST_PATHS = frozenset({"/write", "/api/v2/write"})

INFLUX_HEADERS = {"X-Influxdb-Version": f"2.7.0-gaugehouse-{__version__}", "X-Influxdb-Build": "Gaugehouse"}
PRECISIONS = {
    "n": Precision.NANOSECONDS,
    "ns": Precision.NANOSECONDS,
    "u": Precision.MICROSECONDS,
    "us": Precision.MICROSECONDS,
    "µ": Precision.MICROSECONDS,
    "ms": Precision.MILLISECONDS,
    "s": Precision.SECONDS,
    "m": Precision.MINUTES,
    "h": Precision.HOURS,
}
SCHEMES = frozenset({"token", "bearer", "basic"})

Ignored = Annotated[str | None, Query(description="Taken as these clients send it, without effect")]


def _find_secret(authorization: str) -> str:
    """Return the key or token of an Authorization header; of a name and a password it is the password."""
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() not in SCHEMES:
        raise Unauthenticated("send Authorization: Token, Bearer or Basic with an API key", code="api_key_refused")
    secret = rest.strip()
    if scheme.lower() == "basic":
        try:
            secret = base64.b64decode(secret, validate=True).decode()
        except ValueError:  # no Base64, no ASCII, or no UTF-8
            raise Unauthenticated("the Basic header is not name:password in Base64", code="api_key_refused") from None
    # Clients of version 2 that talk to version 1 send `Token name:password`.
    return secret.rpartition(":")[2]


def authorize_influx(request: Request, runtime: InRuntime, u: Ignored = None, p: Ignored = None) -> Caller:  # noqa: ARG001 - u: any name will do
    """Return the caller of this request, whichever way these clients send the key, if it may write measurements.

    Raises:
        Unauthenticated: No key, or none that counts (any more).
        Forbidden: A valid key without the scope.
        Throttled: The caller asks too often; without a valid key, too much of that came from this address.
    """
    with counting_strangers(paces_of(request), request.scope) as strangers:
        caller = _identify(request, runtime, p, strangers)
    admit_caller(request, caller)
    if not caller.may(Scope.MEASUREMENTS_WRITE):
        raise Forbidden(f"this needs the scope {Scope.MEASUREMENTS_WRITE}")
    return caller


def _identify(request: Request, runtime: Runtime, p: str | None, strangers: StrangerCount) -> Caller:
    authorization, key = request.headers.get("authorization"), request.headers.get("x-api-key")
    secret = key or (_find_secret(authorization) if authorization is not None else p)
    if secret is None:
        raise Unauthenticated("send Authorization: Token with an API key of Gaugehouse", code="api_key_refused")
    # A token has three parts; whoever tries things out by hand has one from POST /token.
    if secret.count(".") == 2:
        return runtime.access.caller_of_token(secret)
    return find_caller_of_key(runtime.access, secret, strangers)


InfluxWriter = Annotated[Caller, Depends(authorize_influx)]


def _check_project(caller: Caller, field: str, name: str | None) -> None:
    """Refuse what is not the caller's project, whether it exists or not; `project/rp` is that project."""
    if not name:
        raise Refused(f"{field} is needed: the name of the project", code="project_required")
    if name.partition("/")[0] != caller.project:
        # Telegraf keeps its rows when it reads just this; on any other 404 it drops them.
        raise NotFound(f"{field} not found: {name[:63]!r} is not the project of this key", code="project_not_found")


def _read_precision(text: str | None) -> Precision:
    found = PRECISIONS.get(text or "ns")
    if found is None:
        raise Refused("precision must be one of ns, us, ms, s, or n, u, m, h", code="precision_refused")
    return found


async def _store(
    request: Request, runtime: Runtime, threads: Threads, caller: Caller, precision: Precision, key: str | None
) -> Response:
    def store(body: bytes, keep: Keep | None) -> Receipt:
        return accept_lines(
            runtime.lake,
            runtime.registry,
            runtime.labels,
            caller.project,
            body,
            precision=precision,
            mapping=LineMapping.from_settings(runtime.settings),
            limits=runtime.delivery_limits(caller.project),
            component=caller.component,
            may_add_events=caller.may(Scope.EVENTS_WRITE),
            keep=keep,
        )

    def accept(body: bytes, _media_type: str) -> Told:  # these clients send all kinds of Content-Type
        return accept_once(
            runtime,
            partial(store, body),
            body=body,
            wishes=precision,
            caller=caller,
            route=request.url.path,
            key=key,
            status=HTTPStatus.NO_CONTENT,
        )

    told = await threads.deliveries.store(request, accept)
    counts = msgspec.json.decode(told.body)
    receipt = ", ".join(f"{name}={counts[name]}" for name in ("accepted", "duplicates", "conflicts", "late"))
    return Response(
        status_code=told.status, headers=INFLUX_HEADERS | {"X-Gaugehouse-Receipt": receipt} | told.headers()
    )


@router.post("/api/v2/write")
async def write_version_2(
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    caller: InfluxWriter,
    key: AskedKey,
    bucket: str | None = None,
    precision: str | None = None,
    org: Ignored = None,  # noqa: ARG001 - taken, see Ignored
    org_id: Annotated[Ignored, Query(alias="orgID")] = None,  # noqa: ARG001
) -> Response:
    """Store line protocol as InfluxDB 2 and 3 do; 204 means it is on the disk."""
    _check_project(caller, "bucket", bucket)
    return await _store(request, runtime, threads, caller, _read_precision(precision), key)


@router.post("/write")
async def write_version_1(
    request: Request,
    runtime: InRuntime,
    threads: InThreads,
    caller: InfluxWriter,
    key: AskedKey,
    db: str | None = None,
    precision: str | None = None,
    rp: Ignored = None,  # noqa: ARG001 - taken, see Ignored
    consistency: Ignored = None,  # noqa: ARG001
) -> Response:
    """Store line protocol as InfluxDB 1 does; 204 means it is on the disk."""
    _check_project(caller, "database", db)
    return await _store(request, runtime, threads, caller, _read_precision(precision), key)


@router.head("/ping")
@router.get("/ping")
async def ping(verbose: Ignored = None) -> Response:  # noqa: ARG001 - taken, see Ignored
    """Say that somebody is here who speaks the write protocol."""
    return Response(status_code=204, headers=INFLUX_HEADERS)


@router.get("/query")
@router.post("/query")
def query(
    caller: InfluxWriter,  # noqa: ARG001 - only that there is one
    q: Ignored = None,  # noqa: ARG001 - taken, see Ignored
    db: Ignored = None,  # noqa: ARG001
) -> Response:
    """Answer that nothing came of it: Telegraf creates its database before it writes. There is no InfluxQL here."""
    return JSONResponse({"results": [{"statement_id": 0}]}, headers=INFLUX_HEADERS)
