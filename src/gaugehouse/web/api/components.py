"""Components: what is measured. Users look; managers create, describe, retire and restore."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from gaugehouse.inventory import (
    ComponentView,
    NewComponent,
    Page,
    create_components,
    find_components,
    get_component,
    restore_component,
    retire_component,
    update_component,
)
from gaugehouse.inventory.checks import read_labels
from gaugehouse.web.api.asked import LabelTexts
from gaugehouse.web.api.component_rows import ComponentInPath
from gaugehouse.web.api.lists import ListCursor, ListLimit, SearchText, one_page
from gaugehouse.web.auditing import InOrigin, tell_created
from gaugehouse.web.edge import EdgeBody, Instant, OneOrMany, as_list
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import InRuntime, Manager, MeasurementReader

router = APIRouter(prefix="/v1/components", tags=["components"])

COMMISSIONED = "Since when it is in service: no KPI counts the time before"


class OeeBody(EdgeBody):
    """The component's own metrics that its OEE is computed from."""

    state_metric: str | None = Field(None, examples=["running"], description="Says when it runs")
    parts_metric: str | None = Field(None, examples=["parts_total"], description="Counts all parts")
    good_metric: str | None = Field(None, description="Counts good parts; or scrap_metric, never both")
    scrap_metric: str | None = Field(None, examples=["scrap_total"], description="Counts bad parts")
    ideal_cycle_time_s: float | None = Field(None, examples=[12.5], description="Time for one part at the best [s]")


class NewComponentBody(EdgeBody):
    """A component to create."""

    name: str = Field(examples=["pump-1"], description="1-200 characters; never changes")
    title: str = Field("", examples=["Feed pump 1"])
    type: str = Field("", examples=["pump"])
    labels: dict[str, str] = Field(default_factory=dict, examples=[{"line": "A"}], description="At most 16")
    attributes: dict[str, Any] = Field(default_factory=dict, description="Any JSON, up to 16 KiB")
    oee: OeeBody = Field(default_factory=lambda: OeeBody.model_validate({}), description="What OEE is computed from")
    commissioned_at: Instant | None = Field(None, examples=["2026-03-16T06:00:00Z"], description=COMMISSIONED)


class ComponentChanges(EdgeBody):
    """What is to change; labels, attributes and oee are merged key by key, and a key set to null is removed."""

    title: str | None = None
    type: str | None = None
    labels: dict[str, str | None] | None = Field(None, examples=[{"line": "B", "hall": None}])
    attributes: dict[str, Any] | None = None
    oee: OeeBody | None = None
    commissioned_at: Instant | None = Field(None, description=f"{COMMISSIONED}; null: nobody knows")


@router.post(
    "",
    status_code=201,
    summary="Create components",
    operation_id="create_components",
    responses=refusals(*CHANGING, *WITH_BODY, 409),
)
def add_components(
    runtime: InRuntime, caller: Manager, origin: InOrigin, body: OneOrMany[NewComponentBody], response: Response
) -> ComponentView | Page[ComponentView]:
    """Create one component, or an array of up to 1000, all or none."""
    new = [NewComponent(**component.model_dump()) for component in as_list(body)]
    with runtime.database.transaction() as session:
        created = create_components(session, caller.project_id, new)
        tell_created(origin.by(caller), session, "component.create", created)
    if isinstance(body, list):
        return one_page(created)
    response.headers["Location"] = f"/v1/components/{created[0].id}"
    return created[0]


@router.get("", summary="Find components", operation_id="find_components", responses=refusals(*SECURED, 404))
def list_components(
    runtime: InRuntime,
    caller: MeasurementReader,
    component: Annotated[str | None, Query(description="Exactly this one, by name or id: for names with a /")] = None,
    search: SearchText = None,
    type: Annotated[str | None, Query(description="Exactly this type")] = None,  # noqa: A002  # the word of the API
    label: LabelTexts = None,
    sort: Annotated[str, Query(description="name, title, type or created_at; -name reverses")] = "name",
    include_retired: bool = False,
    limit: ListLimit = 100,
    cursor: ListCursor = None,
) -> Page[ComponentView]:
    """Return one page of the components that fit all filters; a key of one component finds that one only.

    A component that is named is found although it is retired; one that does not exist is a 404.
    """
    name = caller.component
    with runtime.database.reading() as session:
        if component is not None:
            name = get_component(session, caller.project_id, component, visible=caller.component).name
        return find_components(
            session,
            caller.project_id,
            name=name,
            search=search,
            type=type,
            labels=read_labels(label),
            sort=sort,
            include_retired=include_retired or component is not None,
            limit=limit,
            cursor=cursor,
        )


@router.get("/{component}", summary="One component", operation_id="read_component", responses=refusals(*SECURED, 404))
def read_component(runtime: InRuntime, caller: MeasurementReader, component: ComponentInPath) -> ComponentView:
    """Return a component, retired or not."""
    with runtime.database.reading() as session:
        return get_component(session, caller.project_id, component, visible=caller.component)


@router.patch(
    "/{component}",
    summary="Change a component",
    operation_id="change_component",
    responses=refusals(*CHANGING, *WITH_BODY, 404),
)
def change_component(
    runtime: InRuntime, caller: Manager, origin: InOrigin, component: ComponentInPath, body: ComponentChanges
) -> ComponentView:
    """Change title, type, labels, attributes, the metrics of OEE or the start of service. The name stays."""
    changes = body.model_dump(exclude_unset=True)
    with runtime.database.transaction() as session:
        changed = update_component(session, caller.project_id, component, **changes)
        origin.by(caller).tell(session, "component.change", id=changed.id, name=changed.name, details=changes)
    return changed


@router.post(
    "/{component}/retire",
    summary="Retire",
    operation_id="retire_component",
    responses=refusals(*CHANGING, 404),
)
def retire(runtime: InRuntime, caller: Manager, origin: InOrigin, component: ComponentInPath) -> ComponentView:
    """Take a component out of lists. Its data stays, and rows that still arrive are stored."""
    with runtime.database.transaction() as session:
        retired = retire_component(session, caller.project_id, component)
        origin.by(caller).tell(session, "component.retire", id=retired.id, name=retired.name)
    return retired


@router.post(
    "/{component}/restore",
    summary="Restore",
    operation_id="restore_component",
    responses=refusals(*CHANGING, 404),
)
def restore(runtime: InRuntime, caller: Manager, origin: InOrigin, component: ComponentInPath) -> ComponentView:
    """Bring a retired component back into lists."""
    with runtime.database.transaction() as session:
        restored = restore_component(session, caller.project_id, component)
        origin.by(caller).tell(session, "component.restore", id=restored.id, name=restored.name)
    return restored
