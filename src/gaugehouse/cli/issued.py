"""`gaugehouse report list|show|diff|verify|reissue`: reports that were asked for, read from database and files.

Reading needs no running server; issuing again does, for its worker computes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from rich.markup import escape
from sqlalchemy.orm import Session

from gaugehouse.access import Caller
from gaugehouse.cli.owning import checked, owner_client
from gaugehouse.cli.progress import DataTable, Report, out, print_table, progress_bar
from gaugehouse.cli.reporting import describe_progress, find_file_format
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database
from gaugehouse.errors import AlreadyExists, Unavailable
from gaugehouse.installation import open_database
from gaugehouse.inventory import get_project
from gaugehouse.lake import open_snapshot, read_gone
from gaugehouse.reports import (
    COMPARISON,
    GROUPS,
    Answer,
    Pin,
    Printer,
    ReportView,
    Verdict,
    Verification,
    WantedFile,
    check_done,
    compare_revisions,
    find_newest_done,
    find_staleness,
    get_pin,
    get_report,
    list_reports,
    list_revisions,
    read_answer,
    verify_revision,
)
from gaugehouse.runtime import find_owner

SHOWN = 50
DIGEST_SHOWN = 16  # enough to compare by eye; `verify` prints all of it
NUMBERS = frozenset({"old", "new", "values", "revision"})
PERCENT = 100
NONE = "-"
VERDICTS = {
    Verdict.SAME: "[green]same[/green]: recomputed from its pin to the same digits, and stored as it was computed",
    Verdict.DAMAGED: "[red]damaged[/red]: the stored result is not what was computed",
    Verdict.DIFFERENT: "[red]different[/red]: recomputing gives other digits",
    Verdict.GONE: "[yellow]gone[/yellow]: the rows it needs were dropped; the stored result is as it was computed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where reports are read from, and as whom."""

    database: Database
    layout: Layout
    caller: Caller
    session: Session

    def result(self, view: ReportView) -> tuple[Pin, Answer]:
        """Return pin and result of a revision."""
        pin = get_pin(self.session, self.caller, view.id, view.revision)
        return pin, read_answer(self.layout, view)


@contextmanager
def _shelf(data_dir: Path, project: str) -> Iterator[Shelf]:
    settings = Settings(data_dir=data_dir)
    database = open_database(settings)
    try:
        with database.reading() as session:
            project_id = get_project(session, project).id
            caller = Caller(
                kind="operator", name="command line", project=project, project_id=project_id, scopes=frozenset()
            )
            yield Shelf(database=database, layout=Layout(settings.data_dir), caller=caller, session=session)
    finally:
        database.dispose()


def show_reports(*, data_dir: Path, project: str, limit: int) -> None:
    """Print the newest reports, a line each."""
    with _shelf(data_dir, project) as shelf:
        page = list_reports(shelf.session, shelf.caller, limit=limit)
    table = _table("id", "period", "asked", "by", "revision", "state", "values")
    for view in page.items:
        state = _say_state(view)
        values = NONE if view.result_rows is None else f"{view.result_rows:,}"
        table.add(
            view.id, _period(view), _instant(view.created_at), view.requested_by, str(view.revision), state, values
        )
    if page.items:
        print_table(table)
    else:
        out.print("no report was asked for yet: POST /v1/reports, or the page of reports")


def _say_state(view: ReportView) -> str:
    if view.status == "running":
        return f"running {view.progress_percent:.0f} %, {describe_progress(asdict(view))}".rstrip(", ")
    if view.status == "failed":
        return f"failed: {view.reason or 'no reason given'}"
    return view.status


def show_report(*, data_dir: Path, project: str, report_id: str) -> None:
    """Print what a report is about, its revisions, and whether the newest still holds."""
    with _shelf(data_dir, project) as shelf:
        views = list_revisions(shelf.session, shelf.caller, report_id)
        newest = find_newest_done(shelf.session, shelf.caller, report_id)
        pin = get_pin(shelf.session, shelf.caller, report_id, newest.revision)
        stale = find_staleness(shelf.session, open_snapshot(shelf.layout.lake_dir), pin, shelf.caller.project_id)
    out.print(f"[bold]{_period(newest)}[/bold]  {newest.timezone}")
    out.print(
        f"{newest.components:,} components, {newest.series:,} series; asked by {newest.requested_by}", style="dim"
    )
    table = _table("revision", "state", "knows what came up to", "because", "digest")
    for view in views:
        table.add(
            str(view.revision),
            view.status,
            _instant(view.as_of),
            view.because or "asked for",
            (view.digest or NONE)[:DIGEST_SHOWN],
        )
    print_table(table)
    if not stale.is_stale:
        out.print("[green]holds[/green]: nothing came or was changed since that it would look at")
        return
    if stale.late_rows:
        out.print(
            f"[yellow]stale[/yellow]: {stale.late_rows:,} rows of {stale.late_series:,} series came later, measured"
            f" from {_instant(stale.late_from)} to {_instant(stale.late_to)}"
        )
    for change in [f"{one} changed" for one in stale.changed_attributes][:SHOWN] + list(stale.changed_rules):
        out.print(f"[yellow]stale[/yellow]: {escape(change)}")
    out.print(f"issue it again with: gaugehouse report reissue {report_id} --because ...", style="dim")


def save_report(*, data_dir: Path, project: str, report_id: str, revision: int | None, output: Path) -> None:
    """Write a revision to a file, as it was issued: the file that is kept, or one made now.

    Raises:
        UnsupportedFormat: the name of the file says no format.
        AlreadyExists: it has no result.
    """
    file_format = find_file_format(output)
    with _shelf(data_dir, project) as shelf:
        view = (
            find_newest_done(shelf.session, shelf.caller, report_id)
            if revision is None
            else get_report(shelf.session, shelf.caller, report_id, revision)
        )
        check_done(view)
        wanted = WantedFile(report_id=view.id, revision=view.revision, report_format=file_format)
        kept = wanted.find_path(shelf.layout)
        if kept.exists():
            output.write_bytes(kept.read_bytes())
        else:
            with progress_bar() as report:
                output.write_bytes(_make(shelf, wanted, report))
    out.print(f"revision {view.revision} written to {output}")


def _make(shelf: Shelf, wanted: WantedFile, report: Report) -> bytes:
    printer = Printer(database=shelf.database, layout=shelf.layout)
    doing = f"writing {wanted.report_format.value}"
    return printer.make(wanted, lambda step: report(doing, round(step.percent), PERCENT))


def show_changes(*, data_dir: Path, project: str, report_id: str, since: int | None, revision: int | None) -> None:
    """Print what one revision says differently from an earlier one, and why."""
    with _shelf(data_dir, project) as shelf:
        new = (
            find_newest_done(shelf.session, shelf.caller, report_id)
            if revision is None
            else get_report(shelf.session, shelf.caller, report_id, revision)
        )
        old = get_report(shelf.session, shelf.caller, report_id, max(1, new.revision - 1) if since is None else since)
        snapshot = open_snapshot(shelf.layout.lake_dir)
        changes = compare_revisions(snapshot, shelf.result(old), shelf.result(new))
    out.print(f"[bold]revision {old.revision} -> {new.revision}[/bold]  {changes.num_rows:,} values differ")
    if changes.num_rows:
        print_table(_changes_table(changes))


def verify_report(*, data_dir: Path, project: str, report_id: str, revision: int | None, threads: int) -> bool:
    """Compute a revision again from its pin; return whether it and its stored result are what was issued.

    Raises:
        AlreadyExists: it has no result.
    """
    with _shelf(data_dir, project) as shelf, progress_bar() as report:
        view = (
            find_newest_done(shelf.session, shelf.caller, report_id)
            if revision is None
            else get_report(shelf.session, shelf.caller, report_id, revision)
        )
        pin = get_pin(shelf.session, shelf.caller, view.id, view.revision)
        stored = read_answer(shelf.layout, view)
        if view.digest is None:
            raise AlreadyExists("the report has no result", code="report_not_done")
        verification = verify_revision(
            None if pin.as_of is None else open_snapshot(shelf.layout.lake_dir, as_of=pin.as_of),
            pin,
            digest=view.digest,
            stored=stored,
            gone=read_gone(shelf.layout, project, "measurements"),
            threads=threads,
            on_progress=lambda step: report("recomputing", round(step.percent), PERCENT),
        )
    _show_verification(view, verification)
    return verification.verdict in {Verdict.SAME, Verdict.GONE}


def _show_verification(view: ReportView, found: Verification) -> None:
    out.print(f"[bold]{view.id} revision {view.revision}[/bold]  {_period(view)}")
    out.print(VERDICTS[found.verdict])
    for name, digest in (("issued", found.digest), ("stored", found.stored_digest), ("today", found.recomputed_digest)):
        out.print(f"{name:>7}  {digest or NONE}", style="dim", highlight=False)
    for other in found.other_versions:
        out.print(f"computed by {escape(other)}", style="dim", highlight=False)
    if found.differences.num_rows:
        print_table(_changes_table(found.differences))


def reissue(*, data_dir: Path, project: str, report_id: str, because: str) -> None:
    """Ask the running server to issue a report again.

    Raises:
        Unavailable: no server runs.
    """
    settings = Settings(data_dir=data_dir)
    owner = find_owner(Layout(settings.data_dir))
    if owner is None:
        raise Unavailable("issuing a report again needs the running server: its worker computes")
    with owner_client(settings, owner, project) as client:
        view = checked(client.post(f"/v1/reports/{report_id}/revisions", json={"because": because})).json()
    out.print(f"revision {view['revision']} is queued; see it with: gaugehouse report show {report_id}")


def _changes_table(changes: pa.Table) -> DataTable:
    table = _table("component", "metric", "KPI", "from", "old", "new", "because")
    beside = {COMPARISON: " (compared with)", GROUPS: " (group)"}
    for row in changes.slice(0, SHOWN).to_pylist():
        values = [_value(row[f"{age}_value"], row[f"{age}_status"]) for age in ("old", "new")]
        table.add(
            row["component"] + beside.get(row["table"], ""),
            row["metric"] or NONE,
            row["kpi"],
            _instant(row["bucket_start"]),
            *values,
            row["because"],
        )
    if changes.num_rows > SHOWN:
        table.caption = f"{changes.num_rows - SHOWN:,} more"
    return table


def _value(value: float | None, status: str | None) -> str:
    if status is None:
        return NONE
    return status if value is None else f"{value:,.9g}"


def _table(*names: str) -> DataTable:
    table = DataTable()
    for name in names:
        table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=name in {"id", "state"})
    return table


def _period(view: ReportView) -> str:
    return f"{view.period_start:%Y-%m-%d %H:%M} to {view.period_end:%Y-%m-%d %H:%M} UTC"


def _instant(instant: datetime | None) -> str:
    return NONE if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"
