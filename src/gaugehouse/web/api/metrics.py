"""Metrics: named quantities with unit, kind and limits, for the project and where one component differs."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from gaugehouse.inventory import MetricView, NewMetric, Page, create_metrics, find_metrics, update_metric
from gaugehouse.measurements.metric import MetricKind, StateClass
from gaugehouse.web.api.lists import ListCursor, ListLimit, SearchText, one_page
from gaugehouse.web.edge import EdgeBody, OneOrMany, as_list
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import InRuntime, Manager, MeasurementReader

router = APIRouter(prefix="/v1/metrics", tags=["metrics"])

OwnOf = Annotated[str | None, Query(description="Name or id: what this component has of its own")]


class MetricChanges(EdgeBody):
    """Attributes of a metric; null means the default, or for one component the project's value."""

    title: str | None = None
    kind: MetricKind | None = Field(None, strict=False, description="How values add up; gauge by default")
    unit: str | None = Field(None, examples=["Cel"])
    lsl: float | None = Field(None, description="Lower specification limit [unit]")
    usl: float | None = Field(None, description="Upper specification limit [unit]")
    target: float | None = Field(None, description="Wanted value [unit]")
    nominal_interval_s: float | None = Field(None, examples=[10], description="Time between two samples [s]")
    max_hold_s: float | None = Field(None, description="How long a value stands without a successor [s]")
    rollover_at: float | None = Field(None, examples=[65536], description="Modulus of a counter [unit]")
    max_rate: float | None = Field(None, description="Steepest credible rise of a counter [unit/s]")
    state_classes: dict[str, Annotated[StateClass, Field(strict=False)]] | None = Field(
        None, examples=[{"1": "up", "0": "down"}], description="State value to class"
    )
    state_names: dict[str, str] | None = Field(
        None, examples=[{"1": "producing", "0": "jammed"}], description="State value to what people call it"
    )
    alive_metric: str | None = Field(
        None, examples=["heartbeat"], description="The value holds while this metric of the component is covered"
    )
    lateness_s: float | None = Field(None, examples=[3600], description="Rows that arrive later count as late [s]")
    subgroup: str | None = Field(
        None, examples=["5"], description="Groups for Cp and Cpk: none, a size, or a duration such as PT1H"
    )


class NewMetricBody(MetricChanges):
    """A metric to create."""

    name: str = Field(examples=["temperature"], description="1-200 characters; never changes")
    component: str | None = Field(None, description="Name or id, when one component differs from the project")


@router.get("", summary="Find metrics", operation_id="find_metrics", responses=refusals(*SECURED, 404))
def list_metrics(
    runtime: InRuntime,
    caller: MeasurementReader,
    search: SearchText = None,
    kind: Annotated[str | None, Query(description="gauge, counter, delta or state")] = None,
    component: OwnOf = None,
    sort: Annotated[str, Query(description="name or created_at; -name reverses")] = "name",
    limit: ListLimit = 100,
    cursor: ListCursor = None,
) -> Page[MetricView]:
    """Return one page of the project's metrics, or of what one component has of its own."""
    with runtime.database.reading() as session:
        return find_metrics(
            session,
            caller.project_id,
            search=search,
            kind=kind,
            component=component or caller.component,
            visible=caller.component,
            sort=sort,
            limit=limit,
            cursor=cursor,
        )


@router.post(
    "",
    status_code=201,
    summary="Create metrics",
    operation_id="create_metrics",
    responses=refusals(*CHANGING, *WITH_BODY, 404, 409),
)
def add_metrics(runtime: InRuntime, caller: Manager, body: OneOrMany[NewMetricBody]) -> MetricView | Page[MetricView]:
    """Create one metric, or an array of up to 1000, all or none."""
    new = [NewMetric(**metric.model_dump()) for metric in as_list(body)]
    with runtime.database.transaction() as session:
        created = create_metrics(session, caller.project_id, new)
    return one_page(created) if isinstance(body, list) else created[0]


@router.patch(
    "/{metric}",
    summary="Change a metric",
    operation_id="change_metric",
    responses=refusals(*CHANGING, *WITH_BODY, 404, 409),
)
def change_metric(
    runtime: InRuntime,
    caller: Manager,
    metric: Annotated[str, Path(description="Name or id", examples=["temperature"])],
    body: MetricChanges,
    component: OwnOf = None,
) -> MetricView:
    """Change attributes for the project, or for one component; what is not named stays."""
    changes = body.model_dump(exclude_unset=True)
    with runtime.database.transaction() as session:
        return update_metric(session, caller.project_id, metric, changes, component=component)
