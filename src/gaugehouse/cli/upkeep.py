"""`gaugehouse lake`: what an operator does about the lake itself."""

from pathlib import Path
from typing import Any

import msgspec

from gaugehouse.cli.asking import ask_running as ask_running_owner
from gaugehouse.cli.asking import is_owned, live_asker, owner, require_installation
from gaugehouse.cli.json_output import print_json
from gaugehouse.cli.lake_tables import show_dropped, show_repair, show_status, show_verdict, size_text
from gaugehouse.cli.progress import out, progress_bar
from gaugehouse.config import Layout, Settings
from gaugehouse.errors import Unavailable
from gaugehouse.lake import Pool, Repair, repair_lake
from gaugehouse.lake.findings import Finding, Verdict
from gaugehouse.lake.rows import VALUES
from gaugehouse.lake.status import read_status
from gaugehouse.lake.valuecheck import find_value_projects
from gaugehouse.lake.verify import broken_files, set_broken_aside, verify_lake
from gaugehouse.lock import OwnerLock
from gaugehouse.logs import configure_logs


def repair(*, data_dir: Path, backups: Path | None, as_json: bool) -> bool:
    """Mend what can be mended and say what was done; return whether nothing is lost any more.

    Beside a running server these are the files in quarantine; the server itself brings them back.

    Raises:
        NotFound: there is no installation in this folder, or no backup in the other.
        Unavailable: the owner does not answer.
    """
    settings = Settings(data_dir=data_dir)
    layout = require_installation(settings)
    configure_logs(settings, layout.logs_dir, to_stdout=False, file_name="commands.log")
    is_online = is_owned(layout)
    with progress_bar() as report:
        if is_online:
            given = {"backups": None if backups is None else str(backups.absolute())}
            done = msgspec.convert(ask_running_owner(layout, report)("repair", given), Repair)
        else:
            done = repair_lake(layout, _read_pool(backups), report)
    if as_json:
        print_json({"is_whole": done.is_whole, "lost_rows": done.lost_rows, **msgspec.to_builtins(done)})
    else:
        show_repair(done, is_online=is_online)
    return done.is_whole


def _read_pool(backups: Path | None) -> Pool | None:
    # Lists of backups speak of databases too: no other command here starts with those.
    from gaugehouse.backup import read_pool  # noqa: PLC0415 - see above

    return None if backups is None else read_pool(backups)


def status(*, data_dir: Path, as_json: bool, show_all: bool) -> None:
    """Show how much the lake holds and how far it is behind; beside an owner or without one.

    Raises:
        NotFound: there is no installation in this folder.
        Unavailable: the owner does not answer.
    """
    layout = require_installation(Settings(data_dir=data_dir))
    found = read_status(layout, live_asker(layout) if is_owned(layout) else None)
    if as_json:
        print_json(found)
    else:
        show_status(found, data_dir, show_all=show_all)


def verify(*, data_dir: Path, as_json: bool, keep_in_place: bool) -> bool:
    """Prove every promise of the lake; set damaged files aside. Return whether all is sound.

    Raises:
        NotFound: there is no installation in this folder.
        Unavailable: the owner does not answer.
    """
    settings = Settings(data_dir=data_dir)
    layout = require_installation(settings)
    configure_logs(settings, layout.logs_dir, to_stdout=False, file_name="commands.log")
    if is_owned(layout):
        verdict = _verify_beside_owner(layout, settings, keep_in_place=keep_in_place)
    else:
        lock = OwnerLock(layout.data_dir / "LOCK")
        lock.acquire()
        try:
            with progress_bar() as report:
                verdict = verify_lake(layout, ask_live=None, keep_s=settings.superseded_keep_s, on_progress=report)
            if not keep_in_place:
                verdict.quarantined = set_broken_aside(layout, verdict)
        finally:
            lock.release()
    verdict.findings += _find_unknown_projects(settings, layout)
    if as_json:
        print_json({"verdict": "damaged" if verdict.is_damaged else "sound", **msgspec.to_builtins(verdict)})
    else:
        show_verdict(verdict)
    return not verdict.is_damaged


def _find_unknown_projects(settings: Settings, layout: Layout) -> list[Finding]:
    """Find rows of reports whose project is gone; a database that cannot be asked is no matter of the lake."""
    slugs = find_value_projects(layout)
    if not slugs or (settings.database_url is None and not layout.database_path.exists()):
        return []
    # Only a lake with reports needs the database: no other verification starts with it.
    from gaugehouse.database import Database, sqlite_url  # noqa: PLC0415 - see above
    from gaugehouse.inventory import find_projects  # noqa: PLC0415 - see above

    database = Database.open(settings.database_url or sqlite_url(layout.database_path))
    try:
        with database.reading() as session:
            known = {project.slug for project in find_projects(session)}
    except Unavailable:
        return []
    finally:
        database.dispose()
    what = "the database does not know the project of these rows; the next start removes them"
    return [
        Finding(code="values_unowned", is_damage=False, what=what, table=VALUES.name, project=slug)
        for slug in sorted(slugs - known)
    ]


def _verify_beside_owner(layout: Layout, settings: Settings, *, keep_in_place: bool) -> Verdict:
    with progress_bar() as report:
        verdict = verify_lake(
            layout, ask_live=live_asker(layout), keep_s=settings.superseded_keep_s, on_progress=report
        )
        ask = ask_running_owner(layout, report)
        for finding in () if keep_in_place else broken_files(verdict):
            given = {"table": finding.table, "path": finding.name, "what": finding.what}
            if ask("quarantine", given)["is_quarantined"]:
                verdict.quarantined.append(f"{finding.table}/{finding.name}")
    return verdict


def _ask(data_dir: Path, do: str, given: dict[str, Any]) -> Any:
    with progress_bar() as report, owner(Settings(data_dir=data_dir), report) as ask:
        return ask(do, given)


def compact(*, data_dir: Path, project: str | None, as_json: bool) -> None:
    """Merge all files that can be merged and say what that saved."""
    done = _ask(data_dir, "compact", {"project": project})
    if as_json:
        print_json(done)
    elif not done["merges"]:
        out.print(f"nothing to merge: {done['files_before']:,} files")
    else:
        out.print(
            f"{done['merges']:,} merges of {done['rows']:,} rows: "
            f"[bold]{done['files_before']:,} files are {done['files_after']:,}[/bold], "
            f"{size_text(done['bytes_before'])} are {size_text(done['bytes_after'])}; replaced files stay a while"
        )


def retain(*, data_dir: Path, as_json: bool) -> None:
    """Drop what the projects' settings say is too old, and say what that was."""
    dropped = _ask(data_dir, "retain", {})
    if as_json:
        print_json(dropped)
    else:
        show_dropped(dropped)


def flush(*, data_dir: Path, as_json: bool) -> None:
    """Bring every acknowledged row into the files now."""
    done = _ask(data_dir, "flush", {})
    if as_json:
        print_json(done)
    else:
        out.print(f"{done['rows']:,} rows of the log are in files now")


def delete_project(*, data_dir: Path, name: str, as_json: bool) -> None:
    """Delete a project with every row of it, and say what that was."""
    dropped = _ask(data_dir, "delete_project", {"project": name})
    if as_json:
        print_json(dropped)
        return
    rows, files = sum(one["rows"] for one in dropped), sum(one["files"] for one in dropped)
    out.print(f"project [bold]{name}[/bold] is deleted: {rows:,} rows in {files:,} files")
