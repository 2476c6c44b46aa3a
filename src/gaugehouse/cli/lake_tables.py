"""How status and verdict of a lake look in a terminal of 100 columns."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from gaugehouse.cli.progress import out, print_table
from gaugehouse.lake import Mended, Repair
from gaugehouse.lake.findings import Verdict
from gaugehouse.lake.status import LakeStatus, PartitionStatus, TableStatus
from gaugehouse.measurements.selection import from_epoch_us

PARTITIONS_SHOWN = 40
FINDINGS_SHOWN = 100
THOUSAND = 1000
UNITS = ("B", "kB", "MB", "GB", "TB")
NONE = "-"


def size_text(size_bytes: float) -> str:
    """Return a size as people read it."""
    unit = 0
    while size_bytes >= THOUSAND and unit < len(UNITS) - 1:
        size_bytes /= THOUSAND
        unit += 1
    return f"{size_bytes:,.0f} {UNITS[unit]}" if unit == 0 else f"{size_bytes:,.1f} {UNITS[unit]}"


def _age_text(instant_us: int | None) -> str:
    if instant_us is None:
        return "never"
    age_s = max(0.0, time.time() - instant_us / 1e6)
    for limit_s, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if age_s < limit_s:
            return f"{age_s / unit_s:.0f} {unit} ago"
    return f"{age_s / 86_400:.0f} days ago"


def _table(columns: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading, justify in columns:
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=justify != "fold")
    return table


def show_status(status: LakeStatus, data_dir: Path, *, show_all: bool) -> None:
    """Print tables, partitions and how far the lake is behind."""
    who = "owned by a running process" if status.is_online else "owned by nobody right now"
    out.print(Text.assemble(("Lake ", "bold"), f"{data_dir}, {who}"))
    out.print()
    print_table(_tables(status.tables))
    if status.partitions:
        out.print()
        print_table(_partitions(status.partitions, show_all=show_all))
    out.print()
    out.print(_log_line(status))
    for file in status.quarantined:
        where = f"{file.table} of {file.project}, {file.month}"
        out.print(Text(f"in quarantine: {where}, {file.rows:,} rows: {file.what}", "bold red"))
    for what in status.findings:
        out.print(Text(f"damage: {what}", "bold red"))
    if status.findings:
        out.print("`gaugehouse lake verify` looks for all damage")


def _tables(tables: Iterable[TableStatus]) -> Table:
    shown = _table(
        [
            ("table", ""),
            *((name, "right") for name in ("version", "checkpoint", "files", "rows", "size", "B/row")),
            *((name, "right") for name in ("replaced", "merged")),
        ]
    )
    for one in tables:
        shown.add_row(
            one.table,
            f"{one.version:,}",
            f"{one.checkpoint_version:,}" if one.checkpoint_version >= 0 else NONE,
            f"{one.files:,}",
            f"{one.rows:,}",
            size_text(one.size_bytes),
            f"{one.size_bytes / one.rows:.2f}" if one.rows else NONE,
            f"{one.superseded_files:,}, {size_text(one.superseded_bytes)}" if one.superseded_files else NONE,
            _age_text(one.compacted_at_us),
        )
    return shown


def _partitions(partitions: tuple[PartitionStatus, ...], *, show_all: bool) -> Table:
    shown = _table(
        [
            *((name, "") for name in ("project", "table", "month")),
            *((name, "right") for name in ("files", "rows", "size", "B/row")),
        ]
    )
    ordered = sorted(partitions, key=lambda one: (one.month, one.rows), reverse=True)
    kept = ordered if show_all else ordered[:PARTITIONS_SHOWN]
    for one in sorted(kept, key=lambda one: (one.project, one.table, one.month)):
        shown.add_row(
            one.project,
            one.table,
            one.month,
            f"{one.files:,}",
            f"{one.rows:,}",
            size_text(one.size_bytes),
            NONE if one.bytes_per_row is None else f"{one.bytes_per_row:.2f}",
        )
    if len(kept) < len(ordered):
        shown.caption = f"the newest {len(kept)} of {len(ordered):,} partitions; --all shows every one"
        shown.caption_justify = "left"
    return shown


def _log_line(status: LakeStatus) -> Text:
    through = status.committed_through_us
    until = "nothing yet" if through is None else f"{from_epoch_us(through):%Y-%m-%d %H:%M:%S} UTC"
    waiting = f"{status.unflushed_rows:,} rows ({size_text(status.unflushed_bytes)}) are in the log only"
    lag = f"lag {status.lag_s:,.1f} s" if status.unflushed_rows else "no lag"
    series = sum(one.series or 0 for one in status.tables)
    known = f"\n{series:,} series in memory" if status.is_online else ""
    return Text(f"{waiting}, {lag}\neverything received up to {until} is in files{known}")


def show_verdict(verdict: Verdict) -> None:
    """Print what was found, what was looked at, and the verdict as the last line."""
    if verdict.findings:
        print_table(_findings(verdict))
        rest = len(verdict.findings) - FINDINGS_SHOWN
        if rest > 0:
            out.print(f"... and {rest:,} more; --json lists all")
        out.print()
    for path in verdict.quarantined:
        out.print(Text(f"in quarantine now: {path}", "bold red"))
    figures = verdict.figures
    out.print(
        f"{figures.files:,} files with {figures.rows:,} rows ({size_text(figures.size_bytes)}), "
        f"{figures.superseded_files:,} replaced files, {figures.commits:,} commits, "
        f"{figures.checkpoints:,} checkpoints,",
        highlight=False,
    )
    agree = {True: ", as the running owner says", False: "", None: ""}[verdict.rows_agree]
    out.print(
        f"{figures.manifest_lines:,} manifest lines, {figures.segments:,} log segments with "
        f"{figures.segment_rows:,} rows{agree}; {figures.duration_s:,.1f} s",
        highlight=False,
    )
    damaged = sum(finding.is_damage for finding in verdict.findings)
    leftovers = len(verdict.findings) - damaged
    also = f", {_counted(leftovers, 'leftover')} without harm" if leftovers else ""
    if damaged:
        out.print(Text(f"verdict: DAMAGED, {_counted(damaged, 'finding')}{also}", "bold red"))
    else:
        out.print(Text(f"verdict: SOUND{also}", "bold green"))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _findings(verdict: Verdict) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("finding", no_wrap=True)
    shown.add_column("where", overflow="fold", ratio=1)
    shown.add_column("what", overflow="fold", ratio=1)
    for finding in verdict.findings[:FINDINGS_SHOWN]:
        style = "red" if finding.is_damage else "yellow"
        where = f"{finding.table}/{finding.name}" if finding.table else finding.name
        shown.add_row(Text(finding.code, style), Text(where), Text(finding.what))
    return shown


def show_repair(done: Repair, *, is_online: bool) -> None:
    """Print what was mended, what was not, and the outcome as the last line."""
    lost = [one for one in done.mended if not one.is_whole]
    for heading, style, some in (
        ("mended", "green", [one for one in done.mended if one.is_whole]),
        ("not mended", "bold red", lost),
    ):
        if some:
            print_table(_repairs(heading, style, some))
            out.print()
    if is_online:
        out.print("a server runs: only files in quarantine were looked at; `gaugehouse lake verify` finds others")
    if not done.mended:
        looked = "" if is_online else f": {_counted(done.looked_at, 'data file')} compared with what was written"
        out.print(f"nothing to mend{looked}")
        return
    out.print("damaged originals are in log/damaged and lake/<table>/_quarantine", highlight=False)
    if lost:
        rows = f", {_counted(done.lost_rows, 'row')} lost until a copy is found" if done.lost_rows else ""
        out.print(Text(f"result: {len(lost):,} of {len(done.mended):,} NOT MENDED{rows}", "bold red"))
    else:
        out.print(Text(f"result: MENDED, {_counted(len(done.mended), 'repair')}, nothing lost", "bold green"))


def _repairs(heading: str, style: str, mended: list[Mended]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column(heading, overflow="fold", ratio=3, style=style)
    shown.add_column("what", overflow="fold", ratio=2)
    shown.add_column("rows", justify="right", no_wrap=True)
    for one in mended:
        table = one.name.partition("/")[0]
        of = f" ({table} of {one.project}, {one.month})" if one.project and not one.is_whole else ""
        shown.add_row(Text(one.name), Text(f"{one.what}{of}"), f"{one.rows:,}" if one.rows else NONE)
    return shown


def show_dropped(dropped: list[Mapping[str, Any]]) -> None:
    """Print what retention dropped."""
    if not dropped:
        out.print("nothing is older than the projects keep it")
        return
    shown = _table(
        [*((name, "") for name in ("project", "table", "months")), *((name, "right") for name in ("files", "rows"))]
    )
    shown.add_column("size", justify="right", no_wrap=True)
    shown.add_column("copied first", no_wrap=True)
    for one in dropped:
        months = one["months"][0] if len(one["months"]) == 1 else f"{one['months'][0]} to {one['months'][-1]}"
        shown.add_row(
            one["project"],
            one["table"],
            months,
            f"{one['files']:,}",
            f"{one['rows']:,}",
            size_text(one["size_bytes"]),
            "yes" if one["archived"] else "no",
        )
    print_table(shown)
