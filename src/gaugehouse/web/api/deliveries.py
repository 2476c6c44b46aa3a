"""How rows are delivered, and how that is described; the bodies themselves are read in the room `ingest`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.responses import Response

from gaugehouse.access import Caller
from gaugehouse.errors import RowsRefused
from gaugehouse.ingest import Keep, Receipt, TimeUnit
from gaugehouse.runtime import Runtime
from gaugehouse.web.idempotency import REPLAYED, Told, accept_once
from gaugehouse.web.problems import CHANGING, WITH_BODY, refusals
from gaugehouse.web.threads import Threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How a delivery is to be taken."""

    is_partial: bool
    time_unit: TimeUnit | None

    def line(self) -> str:
        """Return them as one line of text; another line means another delivery, whatever its bytes."""
        return f"partial={self.is_partial} time_unit={self.time_unit or ''}"


async def read_wishes(
    *,
    is_partial: Annotated[
        bool, Query(alias="partial", description="Store the good rows and name the bad ones, instead of refusing all")
    ] = False,
    time_unit: Annotated[
        TimeUnit | None, Query(description="Unit of integer times; without it times are RFC 3339 texts")
    ] = None,
) -> Wishes:
    """Return how this delivery is to be taken."""
    return Wishes(is_partial=is_partial, time_unit=time_unit)


AskedWishes = Annotated[Wishes, Depends(read_wishes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A delivery as it stands before its body is read: who sends it, how it is to be taken, and what it is called."""

    request: Request
    caller: Caller
    wishes: Wishes
    key: str | None


async def deliver(accept: Callable[..., Receipt], runtime: Runtime, threads: Threads, sent: Sent) -> Response:
    """Let `accept_measurements` or `accept_events` store the body of a request in a thread."""
    caller = sent.caller

    def store(body: bytes, media_type: str) -> Told:
        bound = partial(
            accept,
            runtime.lake,
            runtime.registry,
            caller.project,
            body,
            media_type,
            limits=runtime.delivery_limits(caller.project),
            partial=sent.wishes.is_partial,
            component=caller.component,
            time_unit=sent.wishes.time_unit,
        )

        def counted(keep: Keep | None) -> Receipt:
            receipt = bound(keep=keep)
            if receipt.rejected:
                sent.request.scope["state"]["rejected"] = (RowsRefused.default_code, receipt.rejected)
            return receipt

        return accept_once(
            runtime,
            counted,
            body=body,
            wishes=sent.wishes.line(),
            caller=caller,
            route=sent.request.url.path,
            key=sent.key,
            status=HTTPStatus.CREATED,
        )

    told = await threads.deliveries.store(sent.request, store)
    return Response(told.body, told.status, told.headers(), media_type="application/json")


MEASUREMENT_ROW = {
    "type": "object",
    "required": ["component", "metric", "measured_at", "value"],
    "additionalProperties": False,
    "properties": {
        "component": {"type": "string", "minLength": 1, "maxLength": 200},
        "metric": {"type": "string", "minLength": 1, "maxLength": 200},
        "measured_at": {"type": "string", "format": "date-time", "description": "With Z or an offset"},
        "value": {"type": ["number", "null"], "description": "Finite; null only with quality 2"},
        "quality": {"type": "integer", "minimum": 0, "maximum": 2, "description": "0 good, 1 uncertain, 2 bad"},
    },
}
EVENT_ROW = {
    "type": "object",
    "required": ["component", "kind", "occurred_at", "body"],
    "additionalProperties": False,
    "properties": {
        "component": {"type": "string", "minLength": 1, "maxLength": 200},
        "kind": {"type": "string", "minLength": 1, "maxLength": 200},
        "occurred_at": {"type": "string", "format": "date-time", "description": "With Z or an offset"},
        "body": {"description": "Any JSON value; null when there is nothing to tell"},
    },
}
MEASUREMENT_EXAMPLES = {
    "rows": {
        "summary": "An array of rows",
        "value": [
            {"component": "pump-1", "metric": "temperature", "measured_at": "2026-11-20T10:00:00Z", "value": 71.5},
            {"component": "pump-1", "metric": "running", "measured_at": "2026-11-20T10:00:00Z", "value": 1},
        ],
    },
    "columns": {
        "summary": "The same as columns: smaller and four times as fast",
        "value": {
            "component": ["pump-1", "pump-1"],
            "metric": ["temperature", "running"],
            "measured_at": ["2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"],
            "value": [71.5, 1],
        },
    },
}
EVENT_EXAMPLES = {
    "rows": {
        "summary": "An array of events",
        "value": [
            {
                "component": "pump-1",
                "kind": "firmware",
                "occurred_at": "2026-11-20T10:00:00Z",
                "body": {"version": "1.4.2"},
            }
        ],
    }
}
REPLAY_HEADER = {"description": "`true` when this answer was given before", "schema": {"type": "string"}}
DELIVERY_REFUSALS: dict[int | str, dict[str, Any]] = {
    **refusals(*CHANGING, *WITH_BODY, HTTPStatus.CONFLICT),
    201: {"headers": {REPLAYED: REPLAY_HEADER}},
}


def _columns_of(row: dict[str, Any]) -> dict[str, Any]:
    properties = {name: {"type": "array", "items": schema} for name, schema in row["properties"].items()}
    return row | {"properties": properties}


def describe_delivery(row: dict[str, Any], examples: dict[str, Any], csv: str) -> dict[str, Any]:
    """Return the `openapi_extra=` of an endpoint that takes rows in every format."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    as_json = {"anyOf": [{"type": "array", "items": row}, _columns_of(row)]}
    content = {
        "application/json": {"schema": as_json, "examples": examples},
        "application/x-ndjson": {"schema": {"type": "string", "description": "One JSON object per line"}},
        "text/csv": {
            "schema": {"type": "string", "minLength": 1, "description": "A header line, then one row per line"},
            "example": csv,
        },
        "application/vnd.apache.arrow.stream": binary,
        "application/vnd.apache.parquet": binary,
    }
    return {"requestBody": {"required": True, "content": content}}
