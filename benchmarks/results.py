"""Results as a table for people and a JSON file for comparisons."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

RESULTS_DIR = Path(__file__).parent / "results"
LIBRARIES = ("gaugehouse", "duckdb", "deltalake", "pyarrow", "polars", "numpy", "uvicorn", "fastapi")

console = Console()

# name in the row -> heading, how it is printed
COLUMNS = {
    "ingest": {
        "format": ("format", "{}"),
        "rows_per_s": ("rows/s", "{:,.0f}"),
        "settled_rows_per_s": ("rows/s until in the files", "{:,.0f}"),
        "ratio": ("x plain insert", "{:.2f}"),
        "baseline_rows_per_s": ("plain insert rows/s", "{:,.0f}"),
        "seconds": ("sent for [s]", "{:.1f}"),
        "rows_per_request": ("rows/request", "{:,}"),
        "bytes_per_row": ("B/row", "{:.0f}"),
        "response_p50_s": ("p50 [s]", "{:.3f}"),
        "response_p99_s": ("p99 [s]", "{:.3f}"),
        "sender_cpu_s": ("sender CPU [s]", "{:.1f}"),
        "server_cpu_s": ("server CPU [s]", "{:.1f}"),
        "rows_behind_half": ("behind at half", "{:,}"),
        "rows_behind": ("behind at end", "{:,}"),
        "lag_s": ("lag [s]", "{:.1f}"),
        "drain_s": ("drained in [s]", "{:.1f}"),
        "retries": ("retries", "{}"),
        "is_exact": ("files hold exactly these rows", "{}"),
        "has_run_dry": ("payloads ended early", "{}"),
    },
    "peers": {
        "system": ("system", "{}"),
        "acknowledged": ("acknowledged in", "{}"),
        "drops_duplicates": ("drops duplicates", "{}"),
        "rows_per_s": ("rows/s", "{:,.0f}"),
        "ratio": ("Gaugehouse's rows/s by its", "{:.2f}"),
        "seconds": ("sent for [s]", "{:.1f}"),
        "response_p50_s": ("p50 [s]", "{:.3f}"),
        "response_p99_s": ("p99 [s]", "{:.3f}"),
        "sender_cpu_s": ("sender CPU [s]", "{:.1f}"),
        "cpu_s": ("its CPU [s]", "{:.1f}"),
        "memory_bytes": ("its memory [B]", "{:,}"),
        "is_exact": ("holds exactly these rows", "{}"),
    },
    "backfill": {
        "rows": ("old rows", "{:,}"),
        "rows_per_s": ("rows/s", "{:,.0f}"),
        "ratio": ("x Arrow rate", "{:.2f}"),
        "arrow_rows_per_s": ("Arrow rows/s", "{:,.0f}"),
        "settled_rows_per_s": ("rows/s until in the files", "{:,.0f}"),
        "settled_ratio": ("x Arrow rate until in the files", "{:.2f}"),
        "months": ("months", "{}"),
        "seconds": ("sent for [s]", "{:.1f}"),
        "late": ("counted as late", "{:,}"),
        "response_p50_s": ("p50 [s]", "{:.3f}"),
        "response_p99_s": ("p99 [s]", "{:.3f}"),
        "sender_cpu_s": ("sender CPU [s]", "{:.1f}"),
        "server_cpu_s": ("server CPU [s]", "{:.1f}"),
        "server_memory_bytes": ("memory [B]", "{:,}"),
        "rows_behind": ("behind at end", "{:,}"),
        "drain_s": ("drained in [s]", "{:.1f}"),
        "retries": ("retries", "{}"),
        "is_exact": ("files hold exactly these rows", "{}"),
    },
    "size": {
        "system": ("system", "{}"),
        "sent_as": ("sent as", "{}"),
        "rows": ("rows", "{:,}"),
        "bytes_per_row": ("B/row", "{:.2f}"),
        "ratio": ("Gaugehouse's by its", "{:.2f}"),
        "drops_duplicates": ("keeps a key", "{}"),
        "is_exact": ("holds exactly these rows", "{}"),
    },
    "soak": {
        "bound": ("what", "{}"),
        "found": ("found", "{}"),
        "limit": ("bound", "{}"),
        "is_kept": ("kept", "{}"),
    },
    "flush": {
        "rows": ("rows", "{:,}"),
        "append_s": ("append [s]", "{:.2f}"),
        "flush_s": ("flush [s]", "{:.2f}"),
        "flush_rows_per_s": ("flush rows/s", "{:,.0f}"),
        "baseline_s": ("plain insert [s]", "{:.2f}"),
        "flush_ratio": ("flush / insert time", "{:.2f}"),
        "whole_ratio": ("append + flush / insert time", "{:.2f}"),
        "file_bytes_per_row": ("files B/row", "{:.1f}"),
        "memory_bytes": ("memory after flush [B]", "{:,}"),
    },
    "report": {
        "rows": ("rows", "{:,}"),
        "bucket": ("bucket", "{}"),
        "files": ("files", "{}"),
        "series": ("series", "{:,}"),
        "values": ("values", "{:,}"),
        "report_s": ("report [s]", "{:.2f}"),
        "baseline_s": ("plain group-by [s]", "{:.2f}"),
        "ratio": ("x group-by", "{:.1f}"),
        "quantiles_s": ("group-by with exact quantiles [s]", "{:.2f}"),
        "quantiles_ratio": ("x group-by with quantiles", "{:.1f}"),
    },
    "facts": {
        "what": ("what", "{}"),
        "taken_s": ("taken [s]", "{:.2f}"),
        "beside_s": ("beside it [s]", "{:.2f}"),
        "ratio": ("ratio", "{:.2f}"),
        "goal": ("goal", "{:.1f}"),
    },
    "small": {
        "late_share": ("late rows", "{:.0%}"),
        "connections": ("connections", "{}"),
        "requests": ("requests", "{:,}"),
        "requests_per_s": ("requests/s", "{:,.0f}"),
        "response_p50_s": ("response p50 [s]", "{:.4f}"),
        "response_p99_s": ("response p99 [s]", "{:.4f}"),
        "late_p99_s": ("of late rows p99 [s]", "{:.4f}"),
        "response_longest_s": ("longest response [s]", "{:.3f}"),
        "sender_cpu": ("sender processors", "{:.2f}"),
        "server_cpu": ("server processors", "{:.2f}"),
        "is_exact": ("every row once", "{}"),
    },
    "live": {
        "readers": ("readers", "{}"),
        "connections": ("connections", "{}"),
        "deliveries_per_s": ("deliveries/s", "{:,.0f}"),
        "ratio": ("x without readers", "{:.2f}"),
        "server_cpu_ms": ("server CPU per delivery [ms]", "{:.3f}"),
        "cpu_ratio": ("x without readers", "{:.2f}"),
        "messages": ("messages", "{:,}"),
        "dropped": ("readers dropped", "{}"),
    },
    "series": {
        "series": ("series", "{:,}"),
        "append_s": ("append, all batches [s]", "{:.2f}"),
        "append_p99_s": ("append p99 [s]", "{:.3f}"),
        "close_s": ("stop, index saved [s]", "{:.2f}"),
        "index_bytes": ("saved index [B]", "{:,}"),
        "open_s": ("start [s]", "{:.2f}"),
        "bytes_per_series": ("memory B/series", "{:.0f}"),
        "newest_one_p50_s": ("newest of one p50 [s]", "{:.5f}"),
        "newest_one_p99_s": ("newest of one p99 [s]", "{:.5f}"),
        "newest_all_s": ("newest of all [s]", "{:.2f}"),
    },
    "fleet": {
        "devices": ("devices", "{:,}"),
        "enrol_s": ("enrolled, with keys [s]", "{:.1f}"),
        "enrolled_per_s": ("enrolled/s", "{:,.0f}"),
        "batch_s": ("a status of each, in batches [s]", "{:.1f}"),
        "batch_rows_per_s": ("rows/s", "{:,.0f}"),
        "batch_p99_s": ("batch p99 [s]", "{:.3f}"),
        "memory_batch_bytes": ("memory for them [B]", "{:,}"),
        "bytes_per_series": ("memory B/series", "{:.0f}"),
        "single_requests": ("statuses by themselves", "{:,}"),
        "single_per_s": ("requests/s", "{:,.0f}"),
        "single_p50_s": ("response p50 [s]", "{:.4f}"),
        "single_p99_s": ("response p99 [s]", "{:.4f}"),
        "single_server_cpu_s": ("server CPU per request [s]", "{:.6f}"),
        "target_requests": ("devices that asked what to run", "{:,.0f}"),
        "target_per_s": ("requests/s", "{:,.0f}"),
        "target_p50_s": ("response p50 [s]", "{:.4f}"),
        "target_p99_s": ("response p99 [s]", "{:.4f}"),
        "target_server_cpu_s": ("server CPU per request [s]", "{:.6f}"),
        "newest_p50_s": ("newest of one p50 [s]", "{:.5f}"),
        "newest_p99_s": ("newest of one p99 [s]", "{:.5f}"),
        "summary_s": ("summary of all [s]", "{:.2f}"),
        "summary_bytes": ("summary of all [B]", "{:,}"),
        "page_s": ("page of 10,000 of it [s]", "{:.3f}"),
        "listing_s": ("page of 1,000 devices, by cursor [s]", "{:.3f}"),
        "state_s": ("first 1,000 at risk [s]", "{:.3f}"),
        "scrape_first_s": ("first scrape of /metrics [s]", "{:.3f}"),
        "scrape_s": ("scrape of /metrics [s]", "{:.3f}"),
        "memory_bytes": ("memory at the end [B]", "{:,}"),
        "is_exact": ("every row once", "{}"),
    },
}
BY_ROW = {"size", "soak"}


@dataclass(slots=True, kw_only=True)
class Results:
    """What one run has measured so far."""

    work_dir: Path
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    sections: dict[str, dict[str, object]] = field(default_factory=dict)

    def add(self, name: str, rows: list[dict[str, object]], notes: list[str]) -> None:
        """Keep a section and print it."""
        self.sections[name] = {"rows": rows, "notes": notes}
        _print_section(name, rows, notes)

    def rows(self, name: str) -> list[dict[str, object]]:
        """Return the rows of a section, none when this run has not measured it."""
        section: Any = self.sections.get(name, {"rows": []})
        return list(section["rows"])

    def save(self) -> Path:
        """Write everything as JSON and return where."""
        RESULTS_DIR.mkdir(exist_ok=True)
        path = RESULTS_DIR / f"{self.begun_at:%Y%m%dT%H%M%SZ}.json"
        content = {"begun_at": self.begun_at.isoformat(), "machine": describe_machine(self.work_dir), **self.sections}
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path


def show_progress(text: str) -> None:
    """Say what is being measured."""
    console.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/dim] {text}")


def describe_machine(work_dir: Path) -> dict[str, object]:
    """Return what a reader needs to judge the figures."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=RESULTS_DIR.parent
    )
    return {
        "processors": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_1min": psutil.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file_system": _file_system(work_dir),
        "python": sys.version.split()[0],
        "libraries": {name: version(name) for name in LIBRARIES},
        "commit": described.stdout.strip(),
    }


def _file_system(work_dir: Path) -> str:
    parts = [part for part in psutil.disk_partitions(all=True) if work_dir.resolve().is_relative_to(part.mountpoint)]
    return max(parts, key=lambda part: len(part.mountpoint)).fstype if parts else "unknown"


def _print_section(name: str, rows: list[dict[str, object]], notes: list[str]) -> None:
    """Print its tables: of peers one per format."""
    by_title: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        by_title.setdefault(f"{name}: {row['format']}" if name == "peers" else name, []).append(row)
    for title, shown in by_title.items():
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
        fill = _fill_by_row if name in BY_ROW else _fill_by_column
        fill(table, list(COLUMNS[name].items()), shown)
        console.print(table)
    for note in notes:
        console.print(Text(f"  {note}", style="dim"))
    console.print()


def _fill_by_column(table: Table, columns: list[tuple[str, tuple[str, str]]], rows: list[dict[str, object]]) -> None:
    """Show one column per measurement, which fits any terminal."""
    first, (heading, shape) = columns[0]
    table.add_column(heading, style="bold")
    for row in rows:
        table.add_column(shape.format(row[first]), justify="right")
    for key, (heading, shape) in columns[1:]:
        table.add_row(Text(heading), *(_text(row[key], shape) for row in rows))


def _fill_by_row(table: Table, columns: list[tuple[str, tuple[str, str]]], rows: list[dict[str, object]]) -> None:
    """Show one row per measurement: for many of few figures."""
    for number, (_, (heading, _)) in enumerate(columns):
        table.add_column(heading, justify="right" if number > 1 else "left")
    for row in rows:
        table.add_row(*(_text(row[key], shape) for key, (_, shape) in columns))


def _text(value: object, shape: str) -> str:
    return "" if value is None else shape.format(value)
