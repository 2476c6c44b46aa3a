"""`gaugehouse lake`: what an operator does about the lake itself."""

from pathlib import Path

from gaugehouse.cli.progress import out
from gaugehouse.config import Layout
from gaugehouse.errors import NotFound
from gaugehouse.lake import repair_log


def repair(*, data_dir: Path) -> None:
    """Mend the log and say, per damaged segment, what was kept and what was not.

    Raises:
        NotFound: there is no installation in this folder.
        LakeLocked: the server runs.
    """
    layout = Layout(data_dir)
    if not layout.log_dir.exists():
        raise NotFound(f"there is no installation in {data_dir}")
    repaired = repair_log(layout)
    if not repaired:
        out.print("the log is sound; nothing was changed")
    for segment in repaired:
        if segment.is_committed:
            out.print(f"segment {segment.number}: damaged, but all its rows are in the lake: [bold]nothing lost[/bold]")
        else:
            out.print(
                f"segment {segment.number}: {segment.kept_records:,} deliveries kept, "
                f"[bold]{segment.damaged_bytes:,} bytes lost[/bold]; the original is in log/damaged"
            )
