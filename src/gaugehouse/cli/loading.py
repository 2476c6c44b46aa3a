"""`gaugehouse demo`: a generated plant of any size, through the one ingest path."""

from datetime import UTC, datetime
from pathlib import Path

from gaugehouse.cli.owning import open_writer
from gaugehouse.cli.progress import out, progress_bar
from gaugehouse.config import Settings
from gaugehouse.demo.fleet import DEFAULT_DAYS, DEFAULT_INTERVAL_S, FleetPlan
from gaugehouse.demo.load import load_fleet


def load_demo(
    *, data_dir: Path, project: str, component_count: int, days: float | None, interval_s: int | None, seed: int
) -> None:
    """Load a plant and say what became of its rows."""
    plan = FleetPlan(
        component_count=component_count,
        days=DEFAULT_DAYS if days is None else days,
        interval_s=DEFAULT_INTERVAL_S if interval_s is None else interval_s,
        seed=seed,
    )
    with progress_bar() as report, open_writer(Settings(data_dir=data_dir), project, report) as writer:
        loaded = load_fleet(
            writer.lake,
            writer.database,
            writer.registry,
            plan,
            datetime.now(UTC),
            project=project,
            on_progress=lambda done, total: report("loading the plant", done, total),
        )
    out.print(
        f"{loaded.rows:,} rows delivered: [bold]{loaded.accepted:,} accepted[/bold], {loaded.duplicates:,} duplicates, "
        f"{loaded.conflicts:,} conflicts, {loaded.late:,} late; {loaded.events:,} events"
    )
