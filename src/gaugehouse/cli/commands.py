"""The commands and their options. Each imports its work only when it runs, so that `--help` is instant."""
# ruff: noqa: PLC0415 - imports inside commands keep the start of every other command fast

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gaugehouse.arenas import bound_free_memory
from gaugehouse.cli.account_commands import component_app, key_app, user_app
from gaugehouse.cli.fleet_commands import firmware_app, fleet_app
from gaugehouse.cli.options import (
    DEFAULT_DATA,
    EXIT_DAMAGED,
    EXIT_START_REFUSED,
    AsJson,
    Data,
    Project,
    split_names,
)
from gaugehouse.cli.report_commands import report_app
from gaugehouse.errors import StartRefused

app = typer.Typer(
    name="gaugehouse",
    help="A measurement lakehouse: durable ingest, open Delta Lake files, KPIs with coverage, reports as evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
project_app = typer.Typer(help="Projects: tenants, and how long their rows are kept.", no_args_is_help=True)
calendar_app = typer.Typer(help="The shift calendar of a project.", no_args_is_help=True)
exclusion_app = typer.Typer(help="Windows that reports leave out: maintenance, calibration.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit log: who did what, and whether it is whole.", no_args_is_help=True)
lake_app = typer.Typer(help="The lake's own upkeep.", no_args_is_help=True)
app.add_typer(report_app, name="report")
kpi_app = typer.Typer(help="KPIs: what there is, and how a value came to be.", no_args_is_help=True)
app.add_typer(kpi_app, name="kpi")
app.add_typer(lake_app, name="lake")
app.add_typer(project_app, name="project")
app.add_typer(calendar_app, name="calendar")
app.add_typer(exclusion_app, name="exclusion")
app.add_typer(user_app, name="user")
app.add_typer(component_app, name="component")
app.add_typer(key_app, name="key")
app.add_typer(fleet_app, name="fleet")
app.add_typer(firmware_app, name="firmware")
app.add_typer(audit_app, name="audit")


@contextmanager
def _loading() -> Iterator[None]:
    """Load modules without looking for garbage: they keep nearly all they make, and a start is a sixth faster."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _starting() -> Iterator[None]:
    """End a process that must not start with a code of its own: a supervisor shall not try again and again."""
    try:
        yield
    except StartRefused as refusal:
        sys.stderr.write(f"gaugehouse: {refusal.message}\n")
        raise typer.Exit(EXIT_START_REFUSED) from refusal


@app.command()
def serve(
    data: Data = DEFAULT_DATA,
    host: Annotated[str | None, typer.Option(help="Address to listen on  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one  [default: 8080]")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Demo fleet, demo users, open docs; loopback only")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM file of a certificate and its chain: serve HTTPS")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its private key, mode 0600")] = None,
) -> None:
    """Serve the HTTP interface; become the owner of the lake. SIGHUP reads a renewed certificate."""
    from gaugehouse.lock import refuse_locked

    bound_free_memory()
    with _starting():
        refuse_locked(data / "LOCK")  # loading what a server needs takes two seconds more
        with _loading():
            from gaugehouse.cli.serving import ServeOptions, serve_forever
        serve_forever(ServeOptions(data_dir=data, host=host, port=port, demo=demo, tls_cert=tls_cert, tls_key=tls_key))


@app.command()
def worker(
    data: Data = DEFAULT_DATA,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="Stop when standard input closes")] = False,
) -> None:
    """Compute reports. `serve` starts one; run more beside it for more throughput."""
    bound_free_memory()
    with _starting():
        with _loading():
            from gaugehouse.cli.working import work_forever
        work_forever(data_dir=data, with_parent=with_parent)


@app.command()
def demo(
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    components: Annotated[int, typer.Option(help="Machines of the plant")] = 100,
    days: Annotated[float | None, typer.Option(help="Length of the history, ending now")] = None,
    interval: Annotated[int | None, typer.Option(help="Seconds between two readings")] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another plant")] = 1,
) -> None:
    """Load a generated plant: through the running server, or directly when none runs."""
    from gaugehouse.cli.loading import load_demo

    load_demo(data_dir=data, project=project, component_count=components, days=days, interval_s=interval, seed=seed)


@app.command(name="import")
def import_files(
    files: Annotated[list[Path], typer.Argument(help="CSV, Parquet or NDJSON files", exists=True, dir_okay=False)],
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    component: Annotated[str | None, typer.Option(help="The one component all rows belong to")] = None,
    component_column: Annotated[str | None, typer.Option(help="Column with component names")] = None,
    metric_column: Annotated[str | None, typer.Option(help="Long form: column with metric names")] = None,
    value_column: Annotated[str | None, typer.Option(help="Long form: column with values")] = None,
    quality_column: Annotated[str | None, typer.Option(help="Long form: column with quality")] = None,
    metric_columns: Annotated[
        str | None, typer.Option(help="Wide form: comma-separated metric columns; default all numeric ones")
    ] = None,
    time_column: Annotated[
        str | None, typer.Option(help="Column with times, or parts: year=Y,month=M,day=D,hour=H[,minute=,second=]")
    ] = None,
    time_format: Annotated[str | None, typer.Option(help="strptime format, or s, ms, us, ns for epoch numbers")] = None,
    timezone: Annotated[str | None, typer.Option(help="Zone of times without offset: Asia/Shanghai, UTC+8")] = None,
) -> None:
    """Import files of measurements; repeating an import changes nothing."""
    from gaugehouse.cli.importing import ImportOptions, import_measurements

    import_measurements(
        files,
        ImportOptions(
            data_dir=data,
            project=project,
            component=component,
            component_column=component_column,
            metric_column=metric_column,
            value_column=value_column,
            quality_column=quality_column,
            metric_columns=tuple(metric_columns.split(",")) if metric_columns else None,
            time_column=time_column,
            time_format=time_format,
            timezone=timezone,
        ),
    )


@kpi_app.command(name="list")
def kpi_list(data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Show every KPI with its formula: built in, and defined for the project."""
    from gaugehouse.cli.kpis import list_kpis

    list_kpis(data_dir=data, project=project)


@kpi_app.command(name="explain")
def kpi_explain(
    name: Annotated[str, typer.Argument(help="availability, mtbf ...", metavar="KPI")],
    component: Annotated[str, typer.Option(help="Component to show it with")],
    period: Annotated[str, typer.Option(help="last_month, 2026-W45, 2026-10, start/end ...")],
    metric: Annotated[str | None, typer.Option(help="What it is about; default the first that has it")] = None,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    timezone: Annotated[str, typer.Option(help="IANA zone of the calendar")] = "UTC",
) -> None:
    """Show how a KPI of a component came to its value: formula, facts, result."""
    from gaugehouse.cli.kpis import ExplainOptions, explain_from_data

    explain_from_data(
        ExplainOptions(
            data_dir=data,
            project=project,
            kpi=name,
            component=component,
            metric=metric,
            period=period,
            timezone=timezone,
        )
    )


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="Folder of the backups, on another disk", file_okay=False)],
    data: Data = DEFAULT_DATA,
    keep: Annotated[int | None, typer.Option(min=1, help="Keep this many backups; default all")] = None,
) -> None:
    """Back up everything acknowledged so far, while the server runs or not; only new files are copied."""
    from gaugehouse.cli.backups import back_up

    back_up(data_dir=data, target=target, keep=keep)


@app.command()
def restore(
    target: Annotated[Path, typer.Argument(help="Folder of the backups", exists=True, file_okay=False)],
    data: Data = DEFAULT_DATA,
    name: Annotated[str | None, typer.Option(help="Which backup; default the newest")] = None,
) -> None:
    """Build an installation from a backup, in an empty folder; every file is checked on the way."""
    from gaugehouse.cli.backups import bring_back

    bring_back(data_dir=data, target=target, name=name)


@app.command()
def doctor(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Look for weak set-ups, and say how to mend them; exit code 3 for a warning, 4 for something critical.

    Run it with the environment of the server: settings are read from there.
    """
    from gaugehouse.cli.diagnosing import diagnose

    code = diagnose(data_dir=data, as_json=as_json)
    if code:
        raise typer.Exit(code)


@project_app.command(name="list")
def project_list(data: Data = DEFAULT_DATA) -> None:
    """Show all projects and their bounds."""
    from gaugehouse.cli.projects import list_projects

    list_projects(data_dir=data)


@project_app.command(name="show")
def project_show(name: str, data: Data = DEFAULT_DATA) -> None:
    """Show one project and its bounds."""
    from gaugehouse.cli.projects import show_project

    show_project(data_dir=data, slug=name)


@project_app.command(name="create")
def project_create(
    name: str, data: Data = DEFAULT_DATA, title: Annotated[str, typer.Option(help="For people")] = ""
) -> None:
    """Create a project; works while the server runs."""
    from gaugehouse.cli.projects import add_project

    add_project(data_dir=data, slug=name, title=title)


@project_app.command(name="set")
def project_set(
    name: str,
    data: Data = DEFAULT_DATA,
    lateness: Annotated[str | None, typer.Option(help="Refuse rows that arrive later than this: 36h, 7d, off")] = None,
    keep_measurements: Annotated[str | None, typer.Option(help="Drop older months of measurements: 400d, off")] = None,
    keep_events: Annotated[str | None, typer.Option(help="Drop older months of events: 400d, off")] = None,
    archive: Annotated[str | None, typer.Option(help="Copy files to this folder before they are dropped; off")] = None,
    register_unknown: Annotated[
        bool | None, typer.Option(help="Whether rows with new component or metric names register them")
    ] = None,
    writes: Annotated[str | None, typer.Option(help="Most deliveries a minute of each key or user; off")] = None,
    write_bytes: Annotated[str | None, typer.Option(help="Most bytes of them a second; off")] = None,
    reads: Annotated[str | None, typer.Option(help="Most other requests a minute of each user or key; off")] = None,
    reports: Annotated[str | None, typer.Option(help="Most reports asked for a minute, likewise; off")] = None,
    series: Annotated[str | None, typer.Option(help="Most distinct series; off")] = None,
    rows_per_day: Annotated[str | None, typer.Option(help="Most new rows on a UTC day; off")] = None,
    reports_waiting: Annotated[str | None, typer.Option(help="Most reports that may wait; off")] = None,
) -> None:
    """Change what is given; a running server follows within a second."""
    from gaugehouse.cli.projects import set_project

    changes: dict[str, str | bool | None] = {
        "lateness_limit_s": lateness,
        "measurements_keep_days": keep_measurements,
        "events_keep_days": keep_events,
        "archive_dir": archive,
        "register_unknown": register_unknown,
        "writes_per_minute": writes,
        "write_bytes_per_s": write_bytes,
        "reads_per_minute": reads,
        "reports_per_minute": reports,
        "series_quota": series,
        "rows_per_day_quota": rows_per_day,
        "reports_waiting_quota": reports_waiting,
    }
    set_project(data_dir=data, slug=name, changes=changes)


@project_app.command(name="delete")
def project_delete(
    name: str,
    data: Data = DEFAULT_DATA,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a project with every row of it, at once and for good; through the running server, or here."""
    from gaugehouse.cli.upkeep import delete_project

    if not yes:
        typer.confirm(f"Delete project {name} with everything it ever stored?", abort=True, err=True)
    delete_project(data_dir=data, name=name, as_json=as_json)


Author = Annotated[str, typer.Option(help="Who answers for it")]
DEFAULT_AUTHOR = "operator"


@calendar_app.command(name="show")
def calendar_show(
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    version: Annotated[int | None, typer.Option(min=1, help="An older version; default the newest")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As `calendar set` reads it")] = False,
) -> None:
    """Show the shifts and holidays of a project."""
    from gaugehouse.cli.calendars import show_calendar

    show_calendar(data_dir=data, project=project, version=version, as_json=as_json)


@calendar_app.command(name="set")
def calendar_set(
    file: Annotated[Path, typer.Argument(help="JSON file; - is standard input", allow_dash=True, dir_okay=False)],
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    author: Author = DEFAULT_AUTHOR,
) -> None:
    """Replace the shift calendar by the one of a file, as a new version; works while the server runs."""
    from gaugehouse.cli.calendars import set_calendar

    set_calendar(data_dir=data, project=project, file=file, author=author)


@exclusion_app.command(name="add")
def exclusion_add(
    start: Annotated[str, typer.Option(help="With an offset, or local in --timezone: 2026-11-20T06:00")],
    end: Annotated[str, typer.Option(help="The first moment that counts again")],
    reason: Annotated[str, typer.Option(help="Reports show it")],
    component: Annotated[str | None, typer.Option(help="Comma-separated components")] = None,
    for_all: Annotated[bool, typer.Option("--all", help="Every component of the project, later ones too")] = False,
    kind: Annotated[str, typer.Option(help="maintenance, calibration or other")] = "maintenance",
    timezone: Annotated[str | None, typer.Option(help="IANA zone of times without an offset")] = None,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    author: Author = DEFAULT_AUTHOR,
) -> None:
    """Take a window out of the reports that are asked from now on, and print its id; works while the server runs."""
    from gaugehouse.cli.calendars import NewWindow, add_window

    if for_all == (component is not None):
        raise typer.BadParameter("name components with --component, or take --all")
    window = NewWindow(
        kind=kind, components=split_names(component), start=start, end=end, timezone=timezone, reason=reason
    )
    add_window(data_dir=data, project=project, window=window, author=author)


@exclusion_app.command(name="list")
def exclusion_list(
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    component: Annotated[str | None, typer.Option(help="Windows that concern this one")] = None,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Those that count no more as well")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the windows of a project, the latest first."""
    from gaugehouse.cli.calendars import list_windows

    list_windows(data_dir=data, project=project, component=component, with_withdrawn=withdrawn, as_json=as_json)


@exclusion_app.command(name="withdraw")
def exclusion_withdraw(
    exclusion_id: Annotated[str, typer.Argument(metavar="ID", help="exc_...")],
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    author: Author = DEFAULT_AUTHOR,
) -> None:
    """Let a window count no more; it stays listed, with who withdrew it and when."""
    from gaugehouse.cli.calendars import withdraw_window

    withdraw_window(data_dir=data, project=project, exclusion_id=exclusion_id, author=author)


@lake_app.command(name="status")
def lake_status(
    data: Data = DEFAULT_DATA,
    show_all: Annotated[bool, typer.Option("--all", help="Every partition")] = False,
    as_json: AsJson = False,
) -> None:
    """Show files, sizes, rows and lag; beside a running server or without one."""
    from gaugehouse.cli.upkeep import status

    status(data_dir=data, as_json=as_json, show_all=show_all)


@lake_app.command(name="verify")
def lake_verify(
    data: Data = DEFAULT_DATA,
    keep_in_place: Annotated[
        bool, typer.Option("--keep-in-place", help="Only name damaged files, do not put them in quarantine")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove that every byte, row and key is as promised; exit code 3 on damage."""
    from gaugehouse.cli.upkeep import verify

    if not verify(data_dir=data, as_json=as_json, keep_in_place=keep_in_place):
        raise typer.Exit(EXIT_DAMAGED)


@lake_app.command(name="compact")
def lake_compact(
    data: Data = DEFAULT_DATA,
    project: Annotated[str | None, typer.Option(help="Only this project")] = None,
    as_json: AsJson = False,
) -> None:
    """Merge all files that can be merged; ingestion and reads go on."""
    from gaugehouse.cli.upkeep import compact

    compact(data_dir=data, project=project, as_json=as_json)


@lake_app.command(name="retain")
def lake_retain(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Drop now what the projects' settings say is too old; a running server does so every hour."""
    from gaugehouse.cli.upkeep import retain

    retain(data_dir=data, as_json=as_json)


@lake_app.command(name="flush")
def lake_flush(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Bring every acknowledged row into the files now."""
    from gaugehouse.cli.upkeep import flush

    flush(data_dir=data, as_json=as_json)


@lake_app.command(name="repair")
def lake_repair(
    data: Data = DEFAULT_DATA,
    backups: Annotated[
        Path | None,
        typer.Option("--from", help="Folder of backups to copy files from", exists=True, file_okay=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring back what is damaged, from what is left of it, the log or a backup; exit code 3 when something is lost.

    Beside a running server only files in quarantine; stop it first for the log, the Delta logs and everything else.
    Damaged originals are set aside, never removed.
    """
    from gaugehouse.cli.upkeep import repair

    if not repair(data_dir=data, backups=backups, as_json=as_json):
        raise typer.Exit(EXIT_DAMAGED)


@audit_app.command(name="list")
def audit_list(
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    installation: Annotated[
        bool, typer.Option("--installation", help="What concerns no single project, instead of a project's")
    ] = False,
    actor: Annotated[str | None, typer.Option(help="Name of who acted")] = None,
    action: Annotated[str | None, typer.Option(help="Such as key.create; or report, for all of reports")] = None,
    object_: Annotated[str | None, typer.Option("--object", help="Id or name")] = None,
    since: Annotated[str | None, typer.Option(help="2026-11-20T06:00Z")] = None,
    until: Annotated[str | None, typer.Option(help="Before this instant")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who did what to which object, from where; the newest first."""
    from gaugehouse.cli.auditing import ListOptions, list_entries

    options = ListOptions(
        project=None if installation else project,
        actor=actor,
        action=action,
        object=object_,
        since=since,
        until=until,
        limit=limit,
    )
    list_entries(options, data_dir=data, as_json=as_json)


@audit_app.command(name="verify")
def audit_verify(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Prove that no entry was changed, moved, removed or cut off; print the newest hashes; exit code 3 on damage."""
    from gaugehouse.cli.auditing import verify_log

    if not verify_log(data_dir=data, as_json=as_json):
        raise typer.Exit(EXIT_DAMAGED)


@audit_app.command(name="export")
def audit_export(
    file: Annotated[Path, typer.Argument(help="New Parquet file", dir_okay=False)],
    data: Data = DEFAULT_DATA,
    project: Annotated[str | None, typer.Option("--project", help="Only this project; default all chains")] = None,
) -> None:
    """Write the whole log into a Parquet file."""
    from gaugehouse.cli.auditing import export_log

    export_log(data_dir=data, file=file, project=project)
