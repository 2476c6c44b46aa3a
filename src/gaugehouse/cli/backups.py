"""`gaugehouse backup` and `gaugehouse restore`."""

from datetime import datetime
from pathlib import Path

from rich.markup import escape

from gaugehouse.backup import restore_backup
from gaugehouse.cli.asking import owner
from gaugehouse.cli.progress import out, progress_bar
from gaugehouse.config import Settings

MEGABYTE = 1_000_000


def back_up(*, data_dir: Path, target: Path, keep: int | None) -> None:
    """Back up everything acknowledged so far: by the running server, or as the owner when none runs.

    Raises:
        NotFound: there is no installation in this folder.
        GaugehouseError: as `make_backup`.
    """
    with progress_bar() as report, owner(Settings(data_dir=data_dir), report) as ask:
        done = ask("backup", {"target": str(target.absolute()), "keep": keep})
    out.print(f"backup [bold]{done['name']}[/bold]: {done['rows']:,} rows, {done['size_bytes'] / MEGABYTE:,.1f} MB")
    out.print(f"  holds everything acknowledged up to {_shown(done['through'])}", highlight=False)
    if done["removed_files"]:
        out.print(f"  {done['removed_files']:,} files of older backups removed", highlight=False)
    for warning in done.get("warnings", ()):
        out.print(f"  [bold red]warning:[/bold red] {escape(warning)}", highlight=False)
    out.print(f"  restore it with: gaugehouse restore {target} --name {done['name']} --data EMPTY", highlight=False)


def bring_back(*, data_dir: Path, target: Path, name: str | None) -> None:
    """Build an installation from a backup and say what came back."""
    with progress_bar() as report:
        restored = restore_backup(Settings(data_dir=data_dir), target, name=name, on_progress=report)
    out.print(f"restored [bold]{restored.rows:,} rows[/bold] into {data_dir}: all that was acknowledged up to")
    out.print(f"  {_shown(restored.through)}, {restored.results:,} report results, users, keys and inventory")
    out.print("  every file was compared with its checksum; people sign in anew, API keys stay valid", highlight=False)


def _shown(through: datetime | str | None) -> str:
    if through is None:
        return "the beginning: there are no rows"
    moment = datetime.fromisoformat(through) if isinstance(through, str) else through
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} UTC"
