"""`gaugehouse report template`: saved report definitions, as JSON files; on the database, server or not."""

import json
from pathlib import Path

from pydantic import ValidationError

from gaugehouse import reports
from gaugehouse.cli.desk import installation_database, operator_of
from gaugehouse.cli.progress import out
from gaugehouse.config import Settings
from gaugehouse.errors import Refused
from gaugehouse.installation import local_trail
from gaugehouse.reports import Reach, TemplateView
from gaugehouse.web.api.report_templates import TemplateBody, describe_template

SAVED = ("title", "report", "formats", "targets", "destinations", "on_late_data", "minimum_pause_s")


def add_template(*, data_dir: Path, project: str, name: str, path: Path) -> None:
    """Save the definition of a file under a name.

    Raises:
        Refused: The file or a part of the definition cannot be.
        NotFound: The project, or something that the question names, does not exist.
        AlreadyExists: There is a template of this name.
    """
    _save(data_dir=data_dir, project=project, name=name, path=path, is_new=True)


def change_template(*, data_dir: Path, project: str, name: str, path: Path) -> None:
    """Make the definition of a file a new version of a template.

    Raises:
        Refused: The file or a part of the definition cannot be.
        NotFound: The project, the template, or something that the question names does not exist.
    """
    _save(data_dir=data_dir, project=project, name=name, path=path, is_new=False)


def _save(*, data_dir: Path, project: str, name: str, path: Path, is_new: bool) -> None:
    body = read_definition(path)
    settings = Settings(data_dir=data_dir)
    definition, reach = body.as_definition(), Reach.from_settings(settings)
    with installation_database(data_dir) as database:
        with database.reading() as session:
            caller, now = operator_of(session, project), database.now(session)
            limit = settings.report_cells_limit
            reports.check_question(session, caller, definition.request, now=now, cells_limit=limit)
        save = reports.create_template if is_new else reports.replace_template
        with database.transaction() as session:
            view = save(session, caller, name, definition, secrets=body.secrets(), reach=reach)
            action = "template.create" if is_new else "template.change"
            trail = local_trail(settings, caller.project_id)
            trail.tell(session, action, id=view.id, name=view.name, details=describe_template(view))
    out.print(f"template [bold]{view.name}[/bold] saved as version {view.version}", highlight=False)


def read_definition(path: Path) -> TemplateBody:
    """Return the definition of a JSON file, checked like a request's body.

    Raises:
        Refused: The file is no JSON, or the definition cannot be; the first field is named.
    """
    try:
        return TemplateBody.model_validate(json.loads(path.read_text("utf-8")))
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refused(f"{path.name}: {field}: {first['msg']}", code="template_refused") from exc
    except ValueError as exc:
        raise Refused(f"{path.name} is not valid JSON", code="template_refused") from exc


def list_templates(*, data_dir: Path, project: str) -> None:
    """Show every template of a project."""
    with installation_database(data_dir) as database, database.reading() as session:
        for one in reports.list_templates(session, operator_of(session, project)):
            places = len(one.destinations)
            out.print(
                f"[bold]{one.name}[/bold]  {one.title}  version {one.version}, {places} destinations", highlight=False
            )


def show_template(*, data_dir: Path, project: str, name: str) -> None:
    """Print a template as JSON."""
    with installation_database(data_dir) as database, database.reading() as session:
        view = reports.get_template(session, operator_of(session, project), name)
    out.print_json(json.dumps(_saved(view)))


def _saved(view: TemplateView) -> dict[str, object]:
    targets = {kpi: {"target": one.target, "lower": one.lower, "upper": one.upper} for kpi, one in view.targets.items()}
    return {field: getattr(view, field) for field in SAVED} | {"targets": targets}


def remove_template(*, data_dir: Path, project: str, name: str) -> None:
    """Delete a template."""
    with installation_database(data_dir) as database, database.transaction() as session:
        caller = operator_of(session, project)
        reports.delete_template(session, caller, name)
        local_trail(Settings(data_dir=data_dir), caller.project_id).tell(session, "template.delete", name=name)
    out.print(f"template [bold]{name}[/bold] removed")
