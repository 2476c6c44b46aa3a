"""`gaugehouse report` with its templates and schedules. Each command imports its work only when it runs."""
# ruff: noqa: PLC0415 - imports inside commands keep the start of every other command fast

from pathlib import Path
from typing import Annotated

import typer

from gaugehouse.cli.options import DEFAULT_DATA, EXIT_DAMAGED, Data, Project, split_names

report_app = typer.Typer(invoke_without_command=True)
schedule_app = typer.Typer(help="Reports by the calendar.", no_args_is_help=True)
template_app = typer.Typer(help="Saved report definitions.", no_args_is_help=True)
report_app.add_typer(schedule_app, name="schedule")
report_app.add_typer(template_app, name="template")

Name = Annotated[str, typer.Argument(help="1-63 of a-z, 0-9, - and _")]
Every = Annotated[
    str, typer.Option(help="'every Monday 06:00 Europe/Berlin for last_week', 'first day of month 06:00'")
]
Zone = Annotated[str | None, typer.Option(help="IANA zone, where --every names none; default the template's")]
Count = Annotated[int, typer.Option(min=1, max=100, help="How many fire times")]
Definition = Annotated[
    Path, typer.Argument(help="JSON as POST /v1/report-templates takes it", exists=True, dir_okay=False)
]


PeriodOption = Annotated[str, typer.Option("--period", help="last_month, 2026-W45, 2026-10, start/end ...")]
KpiOption = Annotated[str | None, typer.Option("--kpi", help="Comma-separated KPIs; default: what fits each metric")]
ComponentOption = Annotated[str | None, typer.Option("--component", help="Comma-separated components; default all")]
MetricOption = Annotated[str | None, typer.Option("--metric", help="Comma-separated metrics; default all")]
BucketOption = Annotated[
    str | None, typer.Option("--bucket", help="hour, day, week, shift ... or an ISO 8601 duration")
]
ZoneOption = Annotated[str, typer.Option("--timezone", help="IANA zone of the calendar")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write .pdf, .html, .xlsx, .csv, .json or .parquet")
]
CompareOption = Annotated[str | None, typer.Option("--compare", help="Beside each value that of previous, year_before")]
GroupOption = Annotated[str | None, typer.Option("--group-by", help="fleet, type, shift, firmware or label:NAME")]
TitleOption = Annotated[str, typer.Option("--title", help="Stands on files")]
TargetOption = Annotated[
    list[str] | None, typer.Option("--target", help="availability=95 or mean=18..24; repeat it for more KPIs")
]


@report_app.callback()
def report(
    context: typer.Context,
    period: PeriodOption = "",
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    kpi: KpiOption = None,
    component: ComponentOption = None,
    metric: MetricOption = None,
    bucket: BucketOption = None,
    timezone: ZoneOption = "UTC",
    output: OutputOption = None,
    compare: CompareOption = None,
    group_by: GroupOption = None,
    title: TitleOption = "",
    target: TargetOption = None,
) -> None:
    """Reports: ask, read, compare, prove, issue again. With --period and no command: `run`."""
    if context.invoked_subcommand is None:
        if not period:
            raise typer.BadParameter("say which time the report is about, or give a command", param_hint="--period")
        run(period, data, project, kpi, component, metric, bucket, timezone, output, compare, group_by, title, target)


@report_app.command()
def run(
    period: PeriodOption,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    kpi: KpiOption = None,
    component: ComponentOption = None,
    metric: MetricOption = None,
    bucket: BucketOption = None,
    timezone: ZoneOption = "UTC",
    output: OutputOption = None,
    compare: CompareOption = None,
    group_by: GroupOption = None,
    title: TitleOption = "",
    target: TargetOption = None,
) -> None:
    """Compute a KPI report: by the running server's worker, or here when none runs."""
    from gaugehouse.cli.reporting import ReportOptions, parse_against, parse_targets, run_report_command

    run_report_command(
        ReportOptions(
            data_dir=data,
            project=project,
            period=period,
            timezone=timezone,
            kpis=split_names(kpi),
            components=split_names(component),
            metrics=split_names(metric),
            bucket=bucket,
            output=output,
            compare=parse_against(compare),
            group_by=group_by,
            title=title,
            targets=parse_targets(target or []),
        )
    )


ReportId = Annotated[str, typer.Argument(help="rep_...", metavar="ID")]


@report_app.command(name="list")
def report_list(
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many")] = 20,
) -> None:
    """Show the newest reports."""
    from gaugehouse.cli.issued import show_reports

    show_reports(data_dir=data, project=project, limit=limit)


@report_app.command(name="show")
def report_show(
    report_id: ReportId,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    output: OutputOption = None,
    revision: Annotated[int | None, typer.Option(min=1, help="With --output: which one  [default: newest]")] = None,
) -> None:
    """Show a report's revisions, and whether the newest still holds; with --output write one to a file, as issued."""
    from gaugehouse.cli.issued import save_report, show_report

    if output is None:
        show_report(data_dir=data, project=project, report_id=report_id)
    else:
        save_report(data_dir=data, project=project, report_id=report_id, revision=revision, output=output)


@report_app.command(name="diff")
def report_diff(
    report_id: ReportId,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    since: Annotated[int | None, typer.Option(min=1, help="Earlier revision  [default: the one before]")] = None,
    revision: Annotated[int | None, typer.Option(min=1, help="Later revision  [default: the newest]")] = None,
) -> None:
    """Show what a revision says differently from an earlier one, and why."""
    from gaugehouse.cli.issued import show_changes

    show_changes(data_dir=data, project=project, report_id=report_id, since=since, revision=revision)


@report_app.command(name="verify")
def report_verify(
    report_id: ReportId,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    revision: Annotated[int | None, typer.Option(min=1, help="Which one  [default: the newest]")] = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="To compute with; digits stay the same")] = 2,
) -> None:
    """Recompute a report from its pin and compare the digits; exit code 3 when they differ."""
    from gaugehouse.cli.issued import verify_report

    if not verify_report(data_dir=data, project=project, report_id=report_id, revision=revision, threads=threads):
        raise typer.Exit(EXIT_DAMAGED)


@report_app.command(name="reissue")
def report_reissue(
    report_id: ReportId,
    because: Annotated[str, typer.Option(help="Why, for whoever reads the revision")],
    data: Data = DEFAULT_DATA,
    project: Project = "default",
) -> None:
    """Issue a report again, over the same period, from what is known now."""
    from gaugehouse.cli.issued import reissue

    reissue(data_dir=data, project=project, report_id=report_id, because=because)


@schedule_app.command(name="add")
def schedule_add(
    name: Name,
    template: Annotated[str, typer.Option(help="Name of the template")],
    every: Every,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    timezone: Zone = None,
    catch_up: Annotated[
        str, typer.Option(help="Of fire times missed while no server ran: latest, all or none")
    ] = "latest",
    catch_up_limit: Annotated[int, typer.Option(help="Most reports with `all`")] = 24,
) -> None:
    """Let a template's report be asked for by the calendar; works while the server runs or not."""
    from gaugehouse.cli.scheduling import ScheduleOptions, add_schedule

    add_schedule(
        ScheduleOptions(
            data_dir=data,
            project=project,
            name=name,
            template=template,
            every=every,
            timezone=timezone,
            catch_up=catch_up,
            catch_up_limit=catch_up_limit,
        )
    )


@schedule_app.command(name="list")
def schedule_list(data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Show all schedules of a project and when they are due."""
    from gaugehouse.cli.scheduling import list_schedules

    list_schedules(data_dir=data, project=project)


@schedule_app.command(name="pause")
def schedule_pause(name: Name, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Let a schedule rest."""
    from gaugehouse.cli.scheduling import pause_schedule

    pause_schedule(data_dir=data, project=project, name=name)


@schedule_app.command(name="resume")
def schedule_resume(name: Name, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Let a paused schedule go on with its next fire time; what it missed is not made up for."""
    from gaugehouse.cli.scheduling import resume_schedule

    resume_schedule(data_dir=data, project=project, name=name)


@schedule_app.command(name="remove")
def schedule_remove(name: Name, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Delete a schedule and its history; its reports stay."""
    from gaugehouse.cli.scheduling import remove_schedule

    remove_schedule(data_dir=data, project=project, name=name)


@schedule_app.command(name="preview")
def schedule_preview(
    name: Annotated[str | None, typer.Argument(help="A schedule; or give --every")] = None,
    every: Annotated[str | None, typer.Option(help="A recurrence that no schedule has yet")] = None,
    data: Data = DEFAULT_DATA,
    project: Project = "default",
    timezone: Zone = None,
    count: Count = 5,
) -> None:
    """Show the next fire times of a schedule, or of a recurrence."""
    from gaugehouse.cli.scheduling import preview_recurrence, preview_schedule

    if (name is None) == (every is None):
        raise typer.BadParameter("give the name of a schedule, or --every", param_hint="NAME")
    if name is not None:
        preview_schedule(data_dir=data, project=project, name=name, count=count)
    elif every is not None:
        preview_recurrence(every=every, timezone=timezone, count=count)


@schedule_app.command(name="history")
def schedule_history(name: Name, data: Data = DEFAULT_DATA, project: Project = "default", count: Count = 20) -> None:
    """Show what became of a schedule's fire times, the newest first."""
    from gaugehouse.cli.scheduling import show_history

    show_history(data_dir=data, project=project, name=name, count=count)


@template_app.command(name="add")
def template_add(name: Name, definition: Definition, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Save a report definition under a name."""
    from gaugehouse.cli.templating import add_template

    add_template(data_dir=data, project=project, name=name, path=definition)


@template_app.command(name="change")
def template_change(
    name: Name, definition: Definition, data: Data = DEFAULT_DATA, project: Project = "default"
) -> None:
    """Make a new version of a template; webhooks that stay keep their secrets."""
    from gaugehouse.cli.templating import change_template

    change_template(data_dir=data, project=project, name=name, path=definition)


@template_app.command(name="list")
def template_list(data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Show all templates of a project."""
    from gaugehouse.cli.templating import list_templates

    list_templates(data_dir=data, project=project)


@template_app.command(name="show")
def template_show(name: Name, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Print a template as the JSON that `add` and `change` take, without secrets."""
    from gaugehouse.cli.templating import show_template

    show_template(data_dir=data, project=project, name=name)


@template_app.command(name="remove")
def template_remove(name: Name, data: Data = DEFAULT_DATA, project: Project = "default") -> None:
    """Delete a template that no schedule uses; its reports stay."""
    from gaugehouse.cli.templating import remove_template

    remove_template(data_dir=data, project=project, name=name)
