"""Deliveries of reports: where files went, and how that ended."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from gaugehouse import reports
from gaugehouse.inventory import Page
from gaugehouse.reports import DeliveryView
from gaugehouse.web.api.lists import ListCursor, ListLimit
from gaugehouse.web.problems import CHANGING, SECURED, refusals
from gaugehouse.web.security import InRuntime, Manager

router = APIRouter(prefix="/v1/deliveries", tags=["reports"])

DeliveryId = Annotated[str, Path(examples=["dlv_4Fz0bX1mQ9sT7uV2wY3a"])]


@router.get("", summary="List deliveries", operation_id="find_deliveries", responses=refusals(*SECURED))
def list_deliveries(
    runtime: InRuntime,
    caller: Manager,
    state: Annotated[str | None, Query(description="pending, delivered or failed")] = None,
    limit: ListLimit = 100,
    cursor: ListCursor = None,
) -> Page[DeliveryView]:
    """Return one page of the project's deliveries, the newest first."""
    with runtime.database.reading() as session:
        return reports.list_deliveries(session, caller, state=state, limit=limit, cursor=cursor)


@router.get("/{delivery_id}", summary="One delivery", operation_id="read_delivery", responses=refusals(*SECURED, 404))
def read_delivery(runtime: InRuntime, caller: Manager, delivery_id: DeliveryId) -> DeliveryView:
    """Return how a delivery is."""
    with runtime.database.reading() as session:
        return reports.get_delivery(session, caller, delivery_id)


@router.post(
    "/{delivery_id}/retry",
    summary="Try a delivery again",
    operation_id="retry_delivery",
    responses=refusals(*CHANGING, 404, 409),
)
def retry_delivery(runtime: InRuntime, caller: Manager, delivery_id: DeliveryId) -> DeliveryView:
    """Try a failed delivery for another day, or a waiting one now; its receiver sees the same id again."""
    with runtime.database.transaction() as session:
        return reports.retry_delivery(session, caller, delivery_id)
