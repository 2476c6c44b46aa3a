"""Templates: saved report definitions, with a version for every change."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from gaugehouse import reports
from gaugehouse.access import Caller
from gaugehouse.inventory import Page
from gaugehouse.reports import (
    EmailDestination,
    FileFormat,
    FolderDestination,
    KpiTarget,
    OnLateData,
    Reach,
    TemplateDefinition,
    TemplateView,
    WebhookDestination,
)
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.lists import one_page
from gaugehouse.web.api.reports import ReportBody, TargetBody
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import InRuntime, Manager

router = APIRouter(prefix="/v1/report-templates", tags=["reports"])

TemplateName = Annotated[str, Path(examples=["weekly-pumps"])]


class EmailBody(EdgeBody):
    """Files by e-mail; each address gets a message of its own."""

    kind: Literal["email"]
    to: list[str] = Field(examples=[["plant@example.com"]])
    subject: str = Field("{title}: {period}", description="{title}, {period}, {project}, {revision} are filled in")
    text: str = Field("", description="Stands before what the report says of itself; the same words are filled in")
    attach: bool = Field(True, description="Attach the files, or only say where they are")

    def as_destination(self) -> EmailDestination:
        """Return it in the words of the room `reports`."""
        return EmailDestination(to=tuple(self.to), subject=self.subject, text=self.text, attach=self.attach)


class WebhookBody(EdgeBody):
    """Files by a signed POST, see docs/schedules.md."""

    kind: Literal["webhook"]
    url: str = Field(examples=["https://hooks.example.com/reports"])
    secret: str | None = Field(
        None, repr=False, description="Signs the deliveries; in no answer. A URL that stays keeps its own without it"
    )
    attach: bool = Field(True, description="Send the files in the body, or only say where they are")

    def as_destination(self) -> WebhookDestination:
        """Return it in the words of the room `reports`, without its secret."""
        return WebhookDestination(url=self.url, attach=self.attach)


class FolderBody(EdgeBody):
    """Files in a folder of the server."""

    kind: Literal["folder"]
    path: str = Field(
        examples=["weekly/line-1"], description="Below the server's delivery folder and the project's own"
    )

    def as_destination(self) -> FolderDestination:
        """Return it in the words of the room `reports`."""
        return FolderDestination(path=self.path)


DestinationBody = Annotated[EmailBody | WebhookBody | FolderBody, Field(discriminator="kind")]


class TemplateBody(EdgeBody):
    """A saved report definition."""

    title: str = Field(examples=["Pumps, weekly"], description="Stands on the files and in messages")
    report: ReportBody = Field(examples=[{"period": "last_week", "timezone": "Europe/Berlin"}])
    formats: list[FileFormat] = Field(["pdf"], description="Files that are delivered")
    targets: dict[str, TargetBody] = Field(default_factory=dict, description="By KPI")
    destinations: list[DestinationBody] = Field(default_factory=list, description="Where the files go")
    on_late_data: OnLateData = Field(
        OnLateData.NEVER, strict=False, description="When rows that come late lead to a new revision"
    )
    minimum_pause_s: float = Field(900.0, description="With at_once: least time between two revisions [s]")

    @field_validator("report")
    @classmethod
    def _refuse_template(cls, report: ReportBody) -> ReportBody:
        if report.template is not None:
            raise PydanticCustomError("template_of_template", "a template asks its own question")
        return report

    def as_definition(self) -> TemplateDefinition:
        """Return it in the words of the room `reports`."""
        return TemplateDefinition(
            title=self.title,
            request=self.report.as_request(),
            formats=tuple(self.formats),
            targets={kpi: KpiTarget(**target.model_dump()) for kpi, target in self.targets.items()},
            destinations=tuple(one.as_destination() for one in self.destinations),
            on_late_data=self.on_late_data,
            minimum_pause_s=self.minimum_pause_s,
        )

    def secrets(self) -> dict[str, str]:
        """Return the secrets that were given, by URL."""
        return {
            one.url: one.secret for one in self.destinations if isinstance(one, WebhookBody) and one.secret is not None
        }


class NewTemplateBody(TemplateBody):
    """A template to create."""

    name: str = Field(examples=["weekly-pumps"], description="1-63 of a-z, 0-9, - and _; never changes")


@router.get("", summary="List templates", operation_id="find_report_templates", responses=refusals(*SECURED))
def list_templates(runtime: InRuntime, caller: Manager) -> Page[TemplateView]:
    """Return the project's templates by name."""
    with runtime.database.reading() as session:
        return one_page(reports.list_templates(session, caller))


@router.post(
    "",
    status_code=201,
    summary="Create a template",
    operation_id="create_report_template",
    responses=refusals(*CHANGING, *WITH_BODY, 404, 409),
)
def add_template(runtime: InRuntime, caller: Manager, body: NewTemplateBody, response: Response) -> TemplateView:
    """Save a report definition under a name; its question is checked as if it was asked now."""
    definition = body.as_definition()
    _check_question(runtime, caller, definition)
    reach = Reach.from_settings(runtime.settings)
    with runtime.database.transaction() as session:
        view = reports.create_template(session, caller, body.name, definition, secrets=body.secrets(), reach=reach)
    response.headers["Location"] = f"/v1/report-templates/{view.name}"
    return view


@router.get("/{name}", summary="One template", operation_id="read_report_template", responses=refusals(*SECURED, 404))
def read_template(runtime: InRuntime, caller: Manager, name: TemplateName) -> TemplateView:
    """Return a template as it is now."""
    with runtime.database.reading() as session:
        return reports.get_template(session, caller, name)


@router.put(
    "/{name}",
    summary="Change a template",
    operation_id="replace_report_template",
    responses=refusals(*CHANGING, *WITH_BODY, 404),
)
def replace_template(runtime: InRuntime, caller: Manager, name: TemplateName, body: TemplateBody) -> TemplateView:
    """Make a new version of a template; schedules use it from their next fire time on."""
    definition = body.as_definition()
    _check_question(runtime, caller, definition)
    reach = Reach.from_settings(runtime.settings)
    with runtime.database.transaction() as session:
        return reports.replace_template(session, caller, name, definition, secrets=body.secrets(), reach=reach)


@router.delete(
    "/{name}",
    status_code=204,
    summary="Delete a template",
    operation_id="delete_report_template",
    responses=refusals(*CHANGING, 404, 409),
)
def delete_template(runtime: InRuntime, caller: Manager, name: TemplateName) -> None:
    """Delete a template that no schedule uses; its reports stay."""
    with runtime.database.transaction() as session:
        reports.delete_template(session, caller, name)


@router.get(
    "/{name}/versions",
    summary="Versions of a template",
    operation_id="read_report_template_versions",
    responses=refusals(*SECURED, 404),
)
def list_versions(runtime: InRuntime, caller: Manager, name: TemplateName) -> Page[TemplateView]:
    """Return what a template said from one change to the next, the newest first."""
    with runtime.database.reading() as session:
        return one_page(reports.list_versions(session, caller, name))


def _check_question(runtime: Runtime, caller: Caller, definition: TemplateDefinition) -> None:
    with runtime.database.reading() as session:
        now, cells_limit = runtime.database.now(session), runtime.settings.report_cells_limit
        reports.check_question(session, caller, definition.request, now=now, cells_limit=cells_limit)
