"""`gaugehouse audit`: who did what, and whether the log is whole; on the database, while the server runs or not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from rich.text import Text
from sqlalchemy import select

from gaugehouse.audit import Entry, EntryFilter, Verification, find_entries, verify_audit
from gaugehouse.audit.reading import walk_chain
from gaugehouse.cli.json_output import print_json
from gaugehouse.cli.place import require_installation
from gaugehouse.cli.progress import DataTable, out, print_table
from gaugehouse.config import Settings
from gaugehouse.database import Database
from gaugehouse.database.tables import AuditChain
from gaugehouse.errors import AlreadyExists, Refused
from gaugehouse.installation import open_database, open_heads
from gaugehouse.inventory import get_project
from gaugehouse.measurements.period import parse_instant

ENTRIES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """What the command line gives: texts that are not understood yet. `project` None is the installation's chain."""

    project: str | None
    actor: str | None = None
    action: str | None = None
    object: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int = 50


@contextmanager
def _open(data_dir: Path) -> Iterator[tuple[Settings, Database]]:
    settings = Settings(data_dir=data_dir)
    require_installation(settings)
    database = open_database(settings)
    try:
        yield settings, database
    finally:
        database.dispose()


def list_entries(options: ListOptions, *, data_dir: Path, as_json: bool) -> None:
    """Show the newest entries of a chain.

    Raises:
        Refused: a time that is none.
        NotFound: there is no such project.
    """
    with _open(data_dir) as (_, database), database.reading() as session:
        wanted = EntryFilter(
            project_id=None if options.project is None else get_project(session, options.project).id,
            actor=options.actor,
            action=options.action,
            object=options.object,
            since=_read_instant(options.since),
            until=_read_instant(options.until),
        )
        page = find_entries(session, wanted, limit=options.limit)
    if as_json:
        print_json({"items": page.entries, "total": page.total})
        return
    table = DataTable()
    for heading in ("number", "at (UTC)", "who", "from", "action", "object", "details"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"number", "at (UTC)"})
    for entry in page.entries:
        table.add(*_cells(entry))
    print_table(table)
    if page.total > len(page.entries):
        out.print(f"the newest {len(page.entries):,} of {page.total:,}", style="dim")


def _cells(entry: Entry) -> list[str]:
    thing = " ".join(part for part in (entry.object_kind, entry.object_name, entry.object_id) if part)
    who = f"{entry.actor} ({entry.actor_kind})"
    return [str(entry.number), f"{entry.at:%Y-%m-%d %H:%M:%S}", who, entry.source, entry.action, thing, entry.details]


def _read_instant(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text, timezone=None)


def verify_log(*, data_dir: Path, as_json: bool) -> bool:
    """Walk all chains, say where the first entry is broken, and print their newest hashes; return whether all hold."""
    with _open(data_dir) as (settings, database):
        verdict = verify_audit(database, open_heads(settings))
    if as_json:
        said = "sound" if verdict.is_sound else "damaged"
        print_json({"verdict": said, "chains": verdict.chains, "findings": verdict.findings})
    else:
        _show(verdict)
    return verdict.is_sound


def _show(verdict: Verification) -> None:
    table = DataTable()
    for heading in ("chain", "entries", "newest hash"):
        table.add_column(heading, no_wrap=True, justify="right" if heading == "entries" else "left")
    for one in verdict.chains:
        table.add(one.project or one.chain, f"{one.entries:,}", one.hash)
    print_table(table)
    names = {one.chain: one.project or one.chain for one in verdict.chains}
    for finding in verdict.findings:
        where = f"{names[finding.chain]}: " if finding.chain in names else ""
        out.print(Text(f"{finding.code}: {where}{finding.what}", "red" if finding.is_damage else "yellow"))
    out.print(Text("verdict: SOUND", "bold green") if verdict.is_sound else Text("verdict: DAMAGED", "bold red"))


def export_log(*, data_dir: Path, file: Path, project: str | None) -> None:
    """Write entries into a new Parquet file, in order: of one project, or of all and the installation.

    Raises:
        Refused: the name of the file does not end in .parquet.
        AlreadyExists: there is such a file.
        NotFound: there is no such project.
    """
    # Here only: with it comes Arrow, for which all other commands of the log would wait.
    from gaugehouse.audit.columns import write_parquet  # noqa: PLC0415 - see above

    if file.suffix != ".parquet":
        raise Refused(f"{file.name} must end in .parquet", code="file_name_refused")
    with _open(data_dir) as (_, database):
        with database.reading() as session:
            chains = session.scalars(select(AuditChain.chain).order_by(AuditChain.chain)).all()
            chosen = chains if project is None else [get_project(session, project).id]
        try:
            rows = write_parquet(_read_chains(database, chosen), file)
        except FileExistsError as exc:
            raise AlreadyExists(f"there is already a file {file.name}; name another", code="file_exists") from exc
    out.print(f"{rows:,} entries are in {file}", highlight=False)


def _read_chains(database: Database, chains: Sequence[str]) -> Iterator[list[Entry]]:
    for chain in chains:
        entries = walk_chain(database, chain)
        while some := list(islice(entries, ENTRIES_AT_ONCE)):
            yield some
