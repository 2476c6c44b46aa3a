"""Proves that the audit log is whole: every entry as it was written, none missing, none moved, none cut off the end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.audit.entries import GENESIS, INSTALLATION, Entry, hash_entry
from gaugehouse.audit.heads import Head, Heads
from gaugehouse.audit.reading import walk_chain
from gaugehouse.database import Database
from gaugehouse.database.tables import AuditChain, AuditEntry, Project

FILE, TABLE = "the file of heads", "the database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The first broken entry of a chain.

    Args:
        code: `entry_changed`, `entry_missing`, `entry_moved`, `entry_added`, `chain_truncated`, `chain_missing`,
            `head_damaged`; or without damage `heads_missing`.
        is_damage: Whether something was done to the log.
        number: Of the entry; None where it is no single one.
        what: In words.
    """

    code: str
    is_damage: bool
    chain: str
    number: int | None
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainVerdict:
    """What was found of one chain: `entries` that hold, its newest hash, and where it breaks first.

    `project` is the slug; None is the installation's chain, or one of a project that is unknown.
    """

    chain: str
    project: str | None
    entries: int
    hash: str
    broken: Break | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found of all chains that were looked at."""

    chains: tuple[ChainVerdict, ...]
    findings: tuple[Break, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was done to the log."""
        return not any(finding.is_damage for finding in self.findings)


def verify_audit(database: Database, heads: Heads, *, only: str | None = None) -> Verification:
    """Walk every chain and compare its end with what is kept beside it; writers go on meanwhile.

    Args:
        database: The log.
        heads: The file of newest hashes. It is read before the database, so the database is never behind it.
        only: Id of a project (or `INSTALLATION`) whose chain alone is looked at.

    Raises:
        Unavailable: The database is away.
    """
    filed, findings = _read_heads(heads)
    with database.reading() as session:
        tabled = {row.chain: Head(number=row.number, hash=row.hash) for row in session.scalars(select(AuditChain))}
        with_entries = set(session.scalars(select(AuditEntry.chain).distinct()))
        slugs = {row.id: row.slug for row in session.execute(select(Project.id, Project.slug))}
        ended = _find_ended(session)
    if filed is None and tabled and not findings:
        findings.append(_heads_missing())
    # The database first: a file that a crash left behind may still name a chain that has ended.
    known = tabled.keys() | with_entries | ((filed or {}).keys() - ended)
    chains = []
    for chain in sorted(known if only is None else known & {only}):
        anchors = {TABLE: tabled.get(chain), FILE: (filed or {}).get(chain)}
        verdict = _verify_chain(database, chain, slugs.get(chain), anchors)
        if verdict.broken is not None and chain not in ended and _has_ended(database, chain):
            continue  # its project was deleted while we looked
        chains.append(verdict)
        if verdict.broken is not None:
            findings.append(verdict.broken)
    return Verification(chains=tuple(chains), findings=tuple(findings))


def _find_ended(session: Session) -> set[str | None]:
    statement = select(AuditEntry.object_id).where(
        AuditEntry.chain == INSTALLATION, AuditEntry.action == "project.delete"
    )
    return set(session.scalars(statement))


def _has_ended(database: Database, chain: str) -> bool:
    with database.reading() as session:
        return chain in _find_ended(session)


def _read_heads(heads: Heads) -> tuple[dict[str, Head] | None, list[Break]]:
    try:
        return heads.read(), []
    except (OSError, ValueError):
        what = "the file of audit heads cannot be read"
        return None, [Break(code="head_damaged", is_damage=True, chain="", number=None, what=what)]


def _heads_missing() -> Break:
    what = "there is no file of audit heads, so entries may be missing at the end; the next act makes it anew"
    return Break(code="heads_missing", is_damage=False, chain="", number=None, what=what)


def _verify_chain(
    database: Database, chain: str, project: str | None, anchors: Mapping[str, Head | None]
) -> ChainVerdict:
    walk = _Walk(database, chain, {where: head for where, head in anchors.items() if head is not None})
    broken = walk.find_break()
    if broken is None and anchors[TABLE] is None:
        broken = walk.broken("chain_missing", None, "the database has no head of this chain any more")
    if broken is None:
        broken = walk.find_addition()
    return ChainVerdict(chain=chain, project=project, entries=walk.number, hash=walk.hash, broken=broken)


class _Walk:
    """One way along a chain: `number` and `hash` are those of the last entry that held."""

    def __init__(self, database: Database, chain: str, anchors: Mapping[str, Head]) -> None:
        self._database = database
        self._chain = chain
        self._anchors = anchors
        self.number = 0
        self.hash = GENESIS

    def broken(self, code: str, number: int | None, what: str) -> Break:
        return Break(code=code, is_damage=True, chain=self._chain, number=number, what=what)

    def find_break(self) -> Break | None:
        """Return the first broken entry."""
        for entry in walk_chain(self._database, self._chain):
            found = self._judge(entry)
            if found is not None:
                return found
            self.number, self.hash = entry.number, entry.hash
        for where, head in self._anchors.items():
            if head.number > self.number:
                first, lost = self.number + 1, head.number - self.number
                what = f"the last {lost:,} of {head.number:,} entries are missing: {where} knows of them"
                return self.broken("chain_truncated", first, what)
        return None

    def find_addition(self) -> Break | None:
        """Return the last entry if nobody wrote it who knows the head: both are committed together."""
        with self._database.reading() as session:
            head = session.scalar(select(AuditChain.number).where(AuditChain.chain == self._chain))
        if head is None or head >= self.number:
            return None
        what = f"entry {head + 1} stands behind the end of its chain: it was not written by Gaugehouse"
        return self.broken("entry_added", head + 1, what)

    def _judge(self, entry: Entry) -> Break | None:
        expected = self.number + 1
        if hash_entry(entry) != entry.hash:
            return self._judge_contents(entry, expected)
        if entry.number != expected:
            return self.broken("entry_missing", expected, f"entry {expected} is missing: {entry.number} comes next")
        if entry.previous_hash != self.hash:
            what = f"entry {self.number} was written anew: entry {entry.number} followed another"
            return self.broken("entry_changed", self.number, what)
        for where, head in self._anchors.items():
            if head.number == entry.number and head.hash != entry.hash:
                return self.broken("entry_changed", entry.number, f"entry {entry.number} is not the one {where} knows")
        return None

    def _judge_contents(self, entry: Entry, expected: int) -> Break:
        place = next((number for number in self._places() if hash_entry(entry, number=number) == entry.hash), None)
        if place is not None:
            return self.broken("entry_moved", expected, f"in the place of entry {entry.number} stands entry {place}")
        if entry.number != expected:
            return self.broken("entry_missing", expected, f"entry {expected} is missing: {entry.number} comes next")
        return self.broken("entry_changed", entry.number, f"entry {entry.number} is not as it was written")

    def _places(self) -> Iterator[int]:
        longest = max((head.number for head in self._anchors.values()), default=0)
        return iter(range(1, longest + 1))
