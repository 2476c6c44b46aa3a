"""`gaugehouse report`: the same job as over HTTP, printed as a table or written to a file."""

import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.markup import escape
from rich.text import Text

from gaugehouse.cli.owning import checked, owner_client
from gaugehouse.cli.progress import DataTable, Report, out, progress_bar
from gaugehouse.config import Layout, Settings
from gaugehouse.errors import GaugehouseError, Refused, UnsupportedFormat
from gaugehouse.inventory import get_project
from gaugehouse.logs import configure_logs
from gaugehouse.measurements.comparison import Against
from gaugehouse.reports import (
    Allowance,
    Answer,
    Issue,
    KpiTarget,
    Pin,
    Reading,
    ReportRequest,
    compute_answer,
    digest_result,
    encode_pin,
    find_surroundings,
    make_document,
    make_pin,
)
from gaugehouse.reports.printing import ONE_TABLE
from gaugehouse.reports.render import ReportFormat, render
from gaugehouse.reports.request import check_wording
from gaugehouse.runtime import RunningOwner, Runtime, find_owner, open_runtime

POLL_S = 0.2
MAX_PRINTED_ROWS = 60
MAX_KPI_COLUMNS = 8
PERCENT = 100
FORMATS = tuple(f".{one.value}" for one in ReportFormat)
FORMS = {ReportFormat.JSON: "document"}  # what a server calls it, where its name means rows there
BAND = ".."
ASKER = "command line"
UNDEFINED = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """What the command line asks."""

    data_dir: Path
    project: str
    period: str
    timezone: str
    kpis: tuple[str, ...] | None
    components: tuple[str, ...] | None
    metrics: tuple[str, ...] | None
    bucket: str | None
    output: Path | None
    compare: Against | None = None
    group_by: str | None = None
    title: str = ""
    targets: Mapping[str, KpiTarget] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """A result and what makes it evidence."""

    result: pa.Table
    title: str
    digest: str
    file: bytes | None = None


def run_report_command(options: ReportOptions) -> None:
    """Compute a report and print it, or write it to a file.

    Raises:
        GaugehouseError: the question cannot be answered; the message says why.
    """
    file_format = None if options.output is None else find_file_format(options.output)
    settings = Settings(data_dir=options.data_dir)
    configure_logs(settings, Layout(settings.data_dir).logs_dir, to_stdout=False, file_name="commands.log")
    owner = find_owner(Layout(settings.data_dir))
    with progress_bar() as report:
        if owner is None:
            computed = _compute_here(settings, options, file_format, report)
        else:
            computed = _compute_there(settings, options, file_format, owner, report)
    if options.output is None or computed.file is None:
        _print(computed)
    else:
        options.output.write_bytes(computed.file)
        out.print(
            f"{computed.result.num_rows:,} values written to {options.output}  [dim]digest {computed.digest}[/dim]"
        )


def find_file_format(path: Path) -> ReportFormat:
    """Return the format that a file's name asks for.

    Raises:
        UnsupportedFormat: It asks for none.
    """
    if path.suffix not in FORMATS:
        raise UnsupportedFormat(f"a report is written as {', '.join(FORMATS)}, not {path.suffix or 'that'}")
    return ReportFormat(path.suffix[1:])


def parse_against(text: str | None) -> Against | None:
    """Return with what a report is compared.

    Raises:
        Refused: It is neither of the two.
    """
    if text is None:
        return None
    for known in get_args(Against):
        if text == known:
            against: Against = known
            return against
    raise Refused(f"--compare takes {' or '.join(get_args(Against))}, not {text!r}", code="compare_refused")


def parse_targets(texts: list[str]) -> dict[str, KpiTarget]:
    """Return targets by KPI.

    Raises:
        Refused: A text is none.

    >>> parse_targets(["availability=95", "mean=18..24"])["mean"]
    KpiTarget(target=None, lower=18.0, upper=24.0)
    """
    return dict(_parse_target(text) for text in texts)


def _parse_target(text: str) -> tuple[str, KpiTarget]:
    kpi, _, wanted = text.partition("=")
    try:
        numbers = [float(number) for number in wanted.split(BAND)]
    except ValueError:
        numbers = []
    if not kpi or len(numbers) not in {1, 2} or not all(math.isfinite(number) for number in numbers):
        raise Refused(
            f"{text!r} is no target: write KPI=NUMBER, or KPI=LOWER{BAND}UPPER, such as availability=95",
            code="target_refused",
        )
    name = kpi.strip()
    return name, KpiTarget(target=numbers[0]) if len(numbers) == 1 else KpiTarget(lower=numbers[0], upper=numbers[1])


def _compute_here(
    settings: Settings, options: ReportOptions, file_format: ReportFormat | None, report: Report
) -> Computed:
    """Own the lake for as long as the report takes; what is computed here is not kept."""
    question = _request(options)
    check_wording(question)
    runtime = open_runtime(settings, report)
    try:
        with runtime.database.reading() as session:
            pin = make_pin(
                session,
                runtime.lake,
                project=options.project,
                project_id=get_project(session, options.project).id,
                body=question,
                asked_at=runtime.database.now(session),
                cells_limit=settings.report_cells_limit,
                allowance=Allowance.from_settings(settings),
            )
        answer = compute_answer(
            runtime.lake.pin(),
            pin,
            threads=settings.worker_threads,
            on_progress=lambda step: report(
                "computing", round(step.percent), PERCENT, note=describe_progress(asdict(step))
            ),
        )
        digest = digest_result(encode_pin(pin), answer)
        file = None
        if file_format is not None:
            file = _print_here(runtime, question, pin, answer, file_format, report)
    finally:
        runtime.close()
    title = f"{pin.period.expression}  {pin.period.start:%Y-%m-%d %H:%M}  to  {pin.period.end:%Y-%m-%d %H:%M} UTC"
    return Computed(result=answer.values, title=title, digest=digest, file=file)


def _print_here(
    runtime: Runtime,
    question: ReportRequest,
    pin: Pin,
    answer: Answer,
    file_format: ReportFormat,
    report: Report,
) -> bytes:
    issue = Issue(
        report_id="",
        revision=1,
        asked_by=ASKER,
        computed_at=pin.asked_at,
        digest=digest_result(encode_pin(pin), answer),
        request=question,
        pin=pin,
        answer=answer,
    )
    if file_format in ONE_TABLE:
        return render(make_document(issue), file_format)
    reading = Reading(
        snapshot=runtime.lake.pin(),
        gone=runtime.lake.gone(pin.project, "measurements"),
        threads=runtime.settings.worker_threads,
        on_progress=lambda step: report(f"writing {file_format.value}", round(step.percent), PERCENT),
    )
    return render(make_document(issue, find_surroundings(issue, None, reading)), file_format)


def _request(options: ReportOptions) -> ReportRequest:
    return ReportRequest(
        period=options.period,
        timezone=options.timezone,
        components="all" if options.components is None else options.components,
        metrics=options.metrics,
        kpis=options.kpis,
        bucket=options.bucket,
        compare=options.compare,
        group_by=options.group_by,
        title=options.title,
        targets=options.targets,
    )


def _compute_there(
    settings: Settings, options: ReportOptions, file_format: ReportFormat | None, owner: RunningOwner, report: Report
) -> Computed:
    """Ask the running server, and follow its worker."""
    asked = {
        "period": options.period,
        "timezone": options.timezone,
        "components": options.components or "all",
        "metrics": options.metrics,
        "kpis": options.kpis,
        "bucket": options.bucket,
        "compare": options.compare,
        "group_by": options.group_by,
        "title": options.title,
        "targets": {kpi: asdict(target) for kpi, target in options.targets.items()},
    }
    body = {name: value for name, value in asked.items() if value is not None}
    with owner_client(settings, owner, options.project) as client:
        location = checked(client.post("/v1/reports", json=body)).headers["location"]
        state = _follow(lambda: checked(client.get(location)).json(), report)
        answer = checked(client.get(f"{location}/result", headers={"Accept": "application/vnd.apache.parquet"}))
        file = None if file_format is None else _fetch(client, location, file_format, report)
    result = pq.read_table(io.BytesIO(answer.content))
    title = f"{options.period}  {state['period_start']}  to  {state['period_end']}"
    return Computed(result=result, title=title, digest=state["digest"], file=file)


def _fetch(client: httpx.Client, location: str, file_format: ReportFormat, report: Report) -> bytes:
    """Return a file of a report, once a worker has made it."""
    form = FORMS.get(file_format, file_format.value)
    while True:
        answer = checked(client.get(f"{location}/result", params={"format": form}))
        if answer.status_code != HTTPStatus.ACCEPTED:
            return answer.content
        report(f"writing {file_format.value}", round(answer.json()["progress_percent"]), PERCENT)
        time.sleep(POLL_S)


def _follow(ask: Callable[[], dict[str, Any]], report: Report) -> dict[str, Any]:
    while True:
        state = ask()
        report("computing", round(state["progress_percent"]), PERCENT, note=describe_progress(state))
        if state["status"] == "done":
            return state
        if state["status"] in {"failed", "cancelled"}:
            reason = state.get("reason") or "no reason given"
            raise GaugehouseError(f"the report {state['status']}: {reason}", code=state.get("reason_code"))
        time.sleep(POLL_S)


def describe_progress(state: Mapping[str, Any]) -> str:
    """Return what a report is at, in words: phase, rows, and by the clock of this machine when it will be done.

    >>> describe_progress({"phase": "computing", "rows_read": 1000, "rows_total": 34_500_000})
    'computing, 1,000 of 34,500,000 rows'
    """
    said = [state.get("phase") or ""]
    if state.get("rows_read") is not None and state.get("rows_total") is not None:
        said.append(f"{state['rows_read']:,} of {state['rows_total']:,} rows")
    end = state.get("estimated_end_at")
    if end is not None:
        instant = datetime.fromisoformat(end) if isinstance(end, str) else end
        said.append(f"done about {instant.astimezone():%H:%M:%S}")
    return ", ".join(one for one in said if one)


def _print(computed: Computed) -> None:
    """Print one line per series and bucket, a column per KPI; a long list of KPIs one line each."""
    kpis = pc.unique(computed.result.column("kpi")).to_pylist()
    table = _wide(computed.result, kpis) if len(kpis) <= MAX_KPI_COLUMNS else _long(computed.result)
    out.print(f"[bold]{escape(computed.title)}[/bold]")
    out.print(table)
    undefined = computed.result.filter(pc.is_null(computed.result.column("value")))
    if undefined.num_rows:
        reasons = undefined.group_by("reason").aggregate([("kpi", "count")]).sort_by([("kpi_count", "descending")])
        for row in reasons.slice(0, 5).to_pylist():
            out.print(f"{UNDEFINED} {row['kpi_count']:,} x {escape(row['reason'] or '')}", style="dim")
    out.print(f"digest {computed.digest}", style="dim")


def _format(value: float | None, unit: str) -> Text:
    if value is None:
        return Text(UNDEFINED, "dim")
    return Text.assemble(f"{value:,.6g} ", (unit, "dim")) if unit not in {"", "1"} else Text(f"{value:,.6g}")


def _wide(result: pa.Table, kpis: list[str]) -> DataTable:
    has_buckets = len(pc.unique(result.column("bucket_start"))) > 1
    table = DataTable()
    for name in ("component", "metric", *(("from",) if has_buckets else ())):
        table.add_column(name)
    for kpi in kpis:
        table.add_column(kpi, justify="right")
    has_coverage = "coverage" not in kpis  # else it stands there already
    if has_coverage:
        table.add_column("coverage", justify="right")
    cells: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in result.slice(0, (MAX_PRINTED_ROWS + 1) * len(kpis)).to_pylist():
        key = (row["component"], row["metric"] or UNDEFINED, row["bucket_start"])
        cells.setdefault(key, {})[row["kpi"]] = row
    for (component, metric, start), by_kpi in list(cells.items())[:MAX_PRINTED_ROWS]:
        covers = [row["coverage"] for row in by_kpi.values() if row["coverage"] is not None]
        table.add(
            component,
            metric,
            *((f"{start:%Y-%m-%d %H:%M}",) if has_buckets else ()),
            *(_format(by_kpi[kpi]["value"], by_kpi[kpi]["unit"]) if kpi in by_kpi else "" for kpi in kpis),
            *((f"{min(covers):.1%}" if covers else UNDEFINED,) if has_coverage else ()),
        )
    if len(cells) > MAX_PRINTED_ROWS:
        table.caption = "more rows follow; write them all with --output FILE"
    return table


def _long(result: pa.Table) -> DataTable:
    table = DataTable()
    for name in ("component", "metric", "kpi"):
        table.add_column(name)
    for name in ("value", "coverage"):
        table.add_column(name, justify="right")
    table.add_column("status")
    for row in result.slice(0, MAX_PRINTED_ROWS).to_pylist():
        coverage = UNDEFINED if row["coverage"] is None else f"{row['coverage']:.1%}"
        value = _format(row["value"], row["unit"])
        table.add(row["component"], row["metric"] or UNDEFINED, row["kpi"], value, coverage, row["status"])
    if result.num_rows > MAX_PRINTED_ROWS:
        table.caption = f"{result.num_rows - MAX_PRINTED_ROWS:,} more; write them all with --output FILE"
    return table
