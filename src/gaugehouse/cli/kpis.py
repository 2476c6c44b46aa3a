"""`gaugehouse kpi list|explain`: read from database and files; no server needs to run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from sqlalchemy.orm import Session

from gaugehouse.cli.progress import out, print_table
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database
from gaugehouse.installation import open_database
from gaugehouse.inventory import get_project
from gaugehouse.inventory.kpis import find_kpis
from gaugehouse.kpi import ExplainedValue
from gaugehouse.lake import open_snapshot
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.reports.explaining import KpiQuestion, explain_kpi

NONE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions:
    """What the command line asks."""

    data_dir: Path
    project: str
    kpi: str
    component: str
    metric: str | None
    period: str
    timezone: str


def list_kpis(*, data_dir: Path, project: str) -> None:
    """Print every KPI with unit and formula, the project's own ones last."""
    with _project(data_dir, project) as (_, session, project_id):
        kpis = find_kpis(session, project_id)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("kpi", "title", "unit", "for", "version"):
        table.add_column(name)
    table.add_column("formula", overflow="fold")
    for one in kpis:
        kinds = "cannot be computed any more" if one.kinds is None else _list_kinds(one.kinds)
        version = NONE if one.is_built_in else str(one.version)
        table.add_row(*(escape(text) for text in (one.name, one.title, one.unit, kinds, version, one.formula)))
    print_table(table)


def explain_from_data(options: ExplainOptions) -> None:
    """Print a KPI's formula with the values that it was applied to.

    Raises:
        GaugehouseError: it cannot be explained; the message says why.
    """
    with _project(options.data_dir, options.project) as (database, session, project_id):
        question = KpiQuestion(
            project=options.project,
            project_id=project_id,
            kpi=options.kpi,
            component=options.component,
            metric=options.metric,
            period=options.period,
            timezone=options.timezone,
            asked_at=database.now(session),
        )
        explained = explain_kpi(session, open_snapshot(Layout(options.data_dir).lake_dir), question)
    explanation = explained.explanation
    kpi = explanation.kpi
    out.print(f"[bold]{escape(kpi.title)}[/bold]  {kpi.name} [dim]{escape(kpi.unit)}[/dim]")
    start, end = explained.period.start, explained.period.end
    out.print(
        f"{escape(explained.component)} {escape(explained.metric)}  {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    )
    out.print(f"  {escape(kpi.formula)}", highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    for one in explanation.quantities:
        table.add_row(f"  {escape(one.name)}", escape(_show(one)), f"[dim]{escape(one.meaning)}[/dim]")
    print_table(table)
    out.print(f"  {escape(explanation.worked)}", highlight=False)
    result = explanation.result
    why = f": {result.reason}" if result.reason else ""
    out.print(f"[bold]{escape(_show(result))}[/bold]  {result.status}{escape(why)}", highlight=False)
    for heading, text in (("edges", kpi.edge), ("source", kpi.source)):
        if text:
            out.print(f"{heading}: {escape(text)}", style="dim", highlight=False)


def _show(one: ExplainedValue) -> str:
    if one.value is None:
        return NONE
    return f"{one.value:,.6g} {one.unit}" if one.unit not in {"", "1"} else f"{one.value:,.6g}"


def _list_kinds(kinds: tuple[MetricKind, ...]) -> str:
    return "all" if len(kinds) == len(MetricKind) else ", ".join(kinds)


@contextmanager
def _project(data_dir: Path, slug: str) -> Iterator[tuple[Database, Session, str]]:
    database = open_database(Settings(data_dir=data_dir))
    try:
        with database.reading() as session:
            yield database, session, get_project(session, slug).id
    finally:
        database.dispose()
