"""KPIs: the built-in ones, and those that managers define in the formula language."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from gaugehouse.errors import Forbidden
from gaugehouse.inventory import Page
from gaugehouse.inventory.kpis import KpiView, NewKpi, define_kpi, find_kpi_versions, find_kpis
from gaugehouse.reports.explaining import ExplanationView, KpiQuestion, explain_kpi, view_explanation
from gaugehouse.web.api.lists import one_page
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import InRuntime, Manager, ReportReader

router = APIRouter(prefix="/v1/kpis", tags=["kpis"])

KpiName = Annotated[str, Path(examples=["availability"])]


class KpiBody(EdgeBody):
    """A KPI in the formula language, see docs/formulas.md."""

    name: str = Field(examples=["energy_per_part"], description="Lower case letters, digits and _; never changes")
    title: str = Field(examples=["Energy per part"])
    unit: str = Field(examples=["kWh/part"], description="Of its values; U is the unit of the metric it is about")
    formula: str = Field(examples=["energy_kwh.increase / parts_total.increase"])
    edge: str = Field("", description="When it has no value, in words")
    higher_is_better: bool | None = Field(None, description="For traffic lights; null: neither is")


@router.get("", summary="List KPIs", operation_id="find_kpis", responses=refusals(*SECURED))
def list_kpis(runtime: InRuntime, caller: ReportReader) -> Page[KpiView]:
    """Return the built-in KPIs and the newest version of each of the project's, all at once."""
    with runtime.database.reading() as session:
        return one_page(find_kpis(session, caller.project_id))


@router.post(
    "",
    status_code=201,
    summary="Define a KPI",
    operation_id="define_kpi",
    responses=refusals(*CHANGING, *WITH_BODY, 409),
)
def add_kpi(runtime: InRuntime, caller: Manager, body: KpiBody) -> KpiView:
    """Define a KPI of the project, or the next version of one; without a difference the version stays.

    A formula is checked: names, kinds and units. A refusal says where it is wrong (`line`, `column`) and what could
    have been meant (`suggestions`). Reports keep the version that they used.
    """
    with runtime.database.transaction() as session:
        return define_kpi(session, caller.project_id, NewKpi(**body.model_dump()), defined_by=caller.name)


@router.get(
    "/{kpi}/explanation",
    summary="Explain a KPI",
    operation_id="explain_kpi",
    responses=refusals(*SECURED, 404, 413),
)
def explain(  # a value of one component over one period, worked out in front of the reader
    runtime: InRuntime,
    caller: ReportReader,
    kpi: KpiName,
    component: Annotated[str, Query(description="Name or id")],
    period: Annotated[str, Query(examples=["last_week"], description="As in a report")],
    metric: Annotated[str | None, Query(description="What the KPI is about; the first that has it without it")] = None,
    timezone: Annotated[str, Query(examples=["Europe/Berlin"], description="IANA zone of the period")] = "UTC",
) -> ExplanationView:
    """Return a KPI's formula with the value of everything in it, and the result, from the data that are there now."""
    if caller.component is not None:
        raise Forbidden("a key that is bound to one component cannot see the KPIs of others", code="key_is_bound")
    with runtime.database.reading() as session:
        question = KpiQuestion(
            project=caller.project,
            project_id=caller.project_id,
            kpi=kpi,
            component=component,
            metric=metric,
            period=period,
            timezone=timezone,
            asked_at=runtime.database.now(session),
        )
        return view_explanation(explain_kpi(session, runtime.lake.pin(), question))


@router.get(
    "/{kpi}/versions",
    summary="Versions of a KPI",
    operation_id="find_kpi_versions",
    responses=refusals(*SECURED, 404),
)
def list_versions(
    runtime: InRuntime,
    caller: ReportReader,
    kpi: KpiName,
) -> Page[KpiView]:
    """Return every version of a KPI, the newest first."""
    with runtime.database.reading() as session:
        return one_page(find_kpi_versions(session, caller.project_id, kpi))
