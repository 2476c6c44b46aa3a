"""`/metrics`: what the service counts of itself, for Prometheus."""

import hmac
import ipaddress
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from gaugehouse.errors import Forbidden, Unauthenticated
from gaugehouse.runtime import Runtime
from gaugehouse.web.exposition import registry_of, write_metrics
from gaugehouse.web.pace import counting_strangers, paces_of
from gaugehouse.web.problems import refusals
from gaugehouse.web.security import InRuntime, bearer_token

router = APIRouter(tags=["health"])

FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


def sees_projects(request: Request, runtime: InRuntime, token: Annotated[str | None, Depends(bearer_token)]) -> bool:
    """Return whether this caller may see which projects there are; refuse who may see nothing.

    Totals are open where the service listens on loopback only and no proxy stands in front of it.

    Raises:
        Unauthenticated: on another address, without a token.
        Forbidden: the token of somebody who is not the operator.
        Throttled: too many tokens that do not count came from this address.
    """
    expected = runtime.settings.metrics_token
    if token is not None and expected is not None and hmac.compare_digest(token.encode(), expected.encode()):
        return True
    if token is not None:
        with counting_strangers(paces_of(request), request.scope):
            caller = runtime.access.caller_of_token(token)
        if caller.kind != "operator":
            raise Forbidden("metrics are for the operator of this service", code="operator_only")
        return True
    if not _is_local(runtime, request):
        raise Unauthenticated("metrics need the operator's token, or the setting GAUGEHOUSE_METRICS_TOKEN")
    return False


def _is_local(runtime: Runtime, request: Request) -> bool:
    if any(name in request.headers for name in FORWARDED):
        return False
    host = runtime.settings.host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@router.get(
    "/metrics",
    summary="Metrics of the service",
    operation_id="read_service_metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}},
        **refusals(401, 403, 422, 429, 503),
    },
)
def read_service_metrics(
    request: Request, runtime: InRuntime, by_project: Annotated[bool, Depends(sees_projects)]
) -> Response:
    """Return counters, gauges and histograms in Prometheus' text format or as OpenMetrics."""
    registry = registry_of(runtime, request.app.state.traffic, by_project=by_project)
    body, content_type = write_metrics(registry, request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})
