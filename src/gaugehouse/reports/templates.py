"""Templates as rows: kept by name, every change a version that stays."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gaugehouse.access import Caller
from gaugehouse.database import database_now, new_id
from gaugehouse.database.tables import ReportTemplate, ReportTemplateVersion, Schedule, WebhookSecret
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.lake import Gone
from gaugehouse.query.components import show_name
from gaugehouse.reports.ask import make_pin
from gaugehouse.reports.definitions import (
    NAME,
    TemplateDefinition,
    check_definition,
    check_name,
    decode_definition,
    encode_definition,
)
from gaugehouse.reports.destinations import Reach, WebhookDestination
from gaugehouse.reports.request import KpiTarget, ReportRequest, encode_request

TEMPLATES_LIMIT = 1000  # of one project: they are listed as one page
SECRET_CHARS = (16, 200)
SCHEDULE_KIND = "ask_report"
SERIES = pa.schema([pa.field("component", pa.string()), pa.field("metric", pa.string())])


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateView:
    """A template, or one version of it, as its readers see it.

    Args:
        id: tpl_...
        version: Counts up with every change.
        report: The question, as `POST /v1/reports` takes it.
        targets: By KPI.
        destinations: Where the files go; secrets are in no answer.
        owner: Who made the template.
        author: Who made this version.
        created_at: When the template was made.
        changed_at: When this version was made.
    """

    id: str
    name: str
    version: int
    title: str
    report: dict[str, Any]
    formats: tuple[str, ...]
    targets: dict[str, KpiTarget]
    destinations: tuple[dict[str, Any], ...]
    on_late_data: str
    minimum_pause_s: float
    owner: str
    author: str
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template as the rooms below the edge use it."""

    id: str
    name: str
    version: int
    definition: TemplateDefinition


class EmptyLake:
    """Stands in for a lake where only names, KPIs, period and buckets of a question shall be looked at."""

    def newest_received_at(self) -> datetime | None:
        """Return that nothing was received."""
        return None

    def series(self, project: str, components: object = None) -> pa.Table:  # noqa: ARG002 - a PinSource
        """Return no series."""
        return SERIES.empty_table()

    def gone(self, project: str, table: str) -> Gone | None:  # noqa: ARG002 - a PinSource
        """Return that nothing was dropped."""
        return None

    def pin(self) -> None:
        """Show nothing."""


def check_question(
    session: Session, caller: Caller, request: ReportRequest, *, now: datetime, cells_limit: int
) -> None:
    """Refuse a question that could not be asked now, so that a typing error does not wait for its first Monday.

    What only the lake knows (which series there are, what retention has dropped) is left to the moment it is asked.

    Raises:
        PeriodRefused, NotFound, Refused, TooLarge: See `make_pin`.
    """
    make_pin(
        session,
        EmptyLake(),
        project=caller.project,
        project_id=caller.project_id,
        body=request,
        asked_at=now,
        cells_limit=cells_limit,
    )


def create_template(
    session: Session,
    caller: Caller,
    name: str,
    definition: TemplateDefinition,
    *,
    secrets: Mapping[str, str],
    reach: Reach,
) -> TemplateView:
    """Save a report definition under a name.

    Args:
        session: An open transaction.
        caller: Who saves it, in whose project.
        name: Unique in the project.
        definition: What it says.
        secrets: URL of a webhook -> what its deliveries are signed with.
        reach: What this installation can deliver to.

    Raises:
        Refused: The name or a part of the definition cannot be.
        AlreadyExists: The project has a template of this name.
    """
    check_name(name, "template")
    check_definition(definition, reach)
    if _find_row(session, caller.project_id, name) is not None:
        raise AlreadyExists(f"there is already a template {name!r}", code="template_exists")
    count = session.scalar(select(func.count()).select_from(_of_project(caller.project_id).subquery())) or 0
    if count >= TEMPLATES_LIMIT:
        raise Refused(f"a project has at most {TEMPLATES_LIMIT} templates; delete one first", code="too_many_templates")
    row = ReportTemplate(id=new_id("tpl"), project_id=caller.project_id, name=name, version=1, owner=caller.name)
    session.add(row)
    session.flush()
    return _save(session, row, caller, definition, secrets)


def replace_template(
    session: Session,
    caller: Caller,
    name: str,
    definition: TemplateDefinition,
    *,
    secrets: Mapping[str, str],
    reach: Reach,
) -> TemplateView:
    """Make a new version of a template; a webhook that stays keeps its secret unless it is given a new one.

    Raises:
        Refused: A part of the definition cannot be.
        NotFound: The project has none of this name.
    """
    check_definition(definition, reach)
    row = _get_row(session, caller.project_id, name, lock=True)
    row.version += 1
    return _save(session, row, caller, definition, secrets)


def delete_template(session: Session, caller: Caller, name: str) -> None:
    """Delete a template; reports that it made stay, and keep what it said.

    Raises:
        NotFound: The project has none of this name.
        AlreadyExists: Schedules use it.
    """
    row = _get_row(session, caller.project_id, name, lock=True)
    statement = select(Schedule).where(Schedule.project_id == caller.project_id, Schedule.kind == SCHEDULE_KIND)
    users = sorted(one.name for one in session.scalars(statement) if one.payload.get("template_id") == row.id)
    if users:
        raise AlreadyExists(
            f"the template {name!r} is used by the schedule {users[0]!r}; delete or change it first",
            code="template_in_use",
            fields={"schedules": users},
        )
    row.deleted_at = database_now()  # SQL: the flush replaces it by its value
    for secret in session.scalars(select(WebhookSecret).where(WebhookSecret.template_id == row.id)):
        session.delete(secret)
    session.flush()


def get_template(session: Session, caller: Caller, name: str) -> TemplateView:
    """Return a template as it is now.

    Raises:
        NotFound: The project has none of this name.
    """
    row = _get_row(session, caller.project_id, name)
    return _view(row, _get_version(session, row.id, row.version))


def list_templates(session: Session, caller: Caller) -> list[TemplateView]:
    """Return a project's templates by name."""
    statement = (
        select(ReportTemplate, ReportTemplateVersion)
        .join(
            ReportTemplateVersion,
            (ReportTemplateVersion.template_id == ReportTemplate.id)
            & (ReportTemplateVersion.version == ReportTemplate.version),
        )
        .where(ReportTemplate.project_id == caller.project_id, ReportTemplate.deleted_at.is_(None))
        .order_by(ReportTemplate.name)
    )
    return [_view(row, version) for row, version in session.execute(statement)]


def list_versions(session: Session, caller: Caller, name: str) -> list[TemplateView]:
    """Return what a template said, the newest version first.

    Raises:
        NotFound: The project has none of this name.
    """
    row = _get_row(session, caller.project_id, name)
    statement = select(ReportTemplateVersion).where(ReportTemplateVersion.template_id == row.id)
    return [_view(row, one) for one in session.scalars(statement.order_by(ReportTemplateVersion.version.desc()))]


def find_template(session: Session, project_id: str, name: str) -> Template:
    """Return a template by name.

    Raises:
        NotFound: The project has none of this name.
    """
    return _load(session, _get_row(session, project_id, name))


def find_template_by_id(session: Session, template_id: str) -> Template | None:
    """Return a template by id, None when it is deleted."""
    row = session.get(ReportTemplate, template_id)
    return None if row is None or row.deleted_at is not None else _load(session, row)


def load_definition(session: Session, template_id: str, version: int) -> TemplateDefinition:
    """Return what a template said in one version, also when it is deleted: a report is rendered by what made it.

    Raises:
        NotFound: There never was such a version.
    """
    return decode_definition(_get_version(session, template_id, version).definition)


def find_secret(session: Session, template_id: str, url: str) -> str | None:
    """Return what deliveries to a webhook are signed with."""
    row = session.get(WebhookSecret, (template_id, url))
    return None if row is None else row.secret


def _of_project(project_id: str) -> Any:
    return select(ReportTemplate).where(ReportTemplate.project_id == project_id, ReportTemplate.deleted_at.is_(None))


def _find_row(session: Session, project_id: str, name: str, *, lock: bool = False) -> ReportTemplate | None:
    if not NAME.fullmatch(name):  # some text would make a driver fail
        return None
    statement = _of_project(project_id).where(ReportTemplate.name == name)
    row: ReportTemplate | None = session.scalars(statement.with_for_update() if lock else statement).one_or_none()
    return row


def _get_row(session: Session, project_id: str, name: str, *, lock: bool = False) -> ReportTemplate:
    row = _find_row(session, project_id, name, lock=lock)
    if row is None:
        raise NotFound(f"there is no template {show_name(name)!r}", code="template_not_found")
    return row


def _get_version(session: Session, template_id: str, version: int) -> ReportTemplateVersion:
    row = session.get(ReportTemplateVersion, (template_id, version))
    if row is None:
        raise NotFound("there is no such version of the template", code="template_not_found")
    return row


def _load(session: Session, row: ReportTemplate) -> Template:
    definition = load_definition(session, row.id, row.version)
    return Template(id=row.id, name=row.name, version=row.version, definition=definition)


def _save(
    session: Session,
    row: ReportTemplate,
    caller: Caller,
    definition: TemplateDefinition,
    secrets: Mapping[str, str],
) -> TemplateView:
    version = ReportTemplateVersion(
        template_id=row.id, version=row.version, definition=encode_definition(definition), author=caller.name
    )
    session.add(version)
    for number, destination in enumerate(definition.destinations):
        if isinstance(destination, WebhookDestination):
            _keep_secret(session, row.id, destination.url, secrets.get(destination.url), f"destinations.{number}")
    session.flush()
    session.refresh(row)
    session.refresh(version)
    return _view(row, version)


def _keep_secret(session: Session, template_id: str, url: str, secret: str | None, field: str) -> None:
    known = session.get(WebhookSecret, (template_id, url))
    if secret is None and known is None:
        raise _refuse_secret(field, "is needed: the receiver knows by it that a delivery is ours")
    if secret is None:
        return
    shortest, longest = SECRET_CHARS
    if not shortest <= len(secret) <= longest or not secret.isascii() or not secret.isprintable():
        raise _refuse_secret(field, f"must be {shortest} to {longest} printable ASCII characters")
    if known is None:
        session.add(WebhookSecret(template_id=template_id, url=url, secret=secret))
    else:
        known.secret = secret


def _refuse_secret(field: str, reason: str) -> Refused:
    return Refused(f"{field}.secret {reason}", code="destination_refused", fields={"field": f"{field}.secret"})


def _view(row: ReportTemplate, version: ReportTemplateVersion) -> TemplateView:
    definition = decode_definition(version.definition)
    return TemplateView(
        id=row.id,
        name=row.name,
        version=version.version,
        title=definition.title,
        report=encode_request(definition.request),
        formats=definition.formats,
        targets=dict(definition.targets),
        destinations=tuple(asdict(destination) for destination in definition.destinations),
        on_late_data=definition.on_late_data.value,
        minimum_pause_s=definition.minimum_pause_s,
        owner=row.owner,
        author=version.author,
        created_at=row.created_at,
        changed_at=version.created_at,
    )
