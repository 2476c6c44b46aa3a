"""Entries are written here, each in the transaction of the act that it tells of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import delete, event, insert, select, update
from sqlalchemy.orm import Session

from gaugehouse.audit.actions import ACTIONS
from gaugehouse.audit.entries import GENESIS, INSTALLATION, Act, clean_text, seal, write_details
from gaugehouse.audit.heads import Head, Heads
from gaugehouse.database import database_now, insert_missing
from gaugehouse.database.tables import AuditChain, Base

LOCAL = "local"  # the source of what the command line of the same machine did
NOTED = "audit_heads"
ENDED = "audit_ended"

CHAINS, ENTRIES = Base.metadata.tables["audit_chains"], Base.metadata.tables["audit_entries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """Who acts, from where, and in which chain that is written down; made once per request or command.

    Args:
        heads: The file of the newest hashes.
        actor_kind: user, key, operator, service or unknown.
        actor: Name of the user or key.
        project_id: Whose chain it is; None is the installation's.
        source: Address of the client, or `LOCAL`.
        request_id: Of the request, if it is one.
    """

    heads: Heads
    actor_kind: str
    actor: str
    project_id: str | None
    source: str
    request_id: str | None = None

    def tell(
        self,
        session: Session,
        action: str,
        *,
        id: str | None = None,  # noqa: A002 - of the object, as it is called everywhere
        name: str | None = None,
        kind: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Write an entry: it is there when the session's transaction is committed, and only then.

        Args:
            session: The open transaction of the act.
            action: One of `ACTIONS`; what stands before its dot is the kind of the object, unless `kind` is given.
            id: Of the object.
            name: Of the object.
            kind: Of the object.
            details: What else matters, small and without secrets.
        """
        if action not in ACTIONS:
            msg = f"{action!r} is no word of the audit log"
            raise ValueError(msg)
        act = Act(
            chain=self.project_id or INSTALLATION,
            actor_kind=self.actor_kind,
            actor=clean_text(self.actor),
            action=action,
            object_kind=kind or action.rpartition(".")[0],
            object_id=None if id is None else clean_text(id),
            object_name=None if name is None else clean_text(name),
            source=clean_text(self.source),
            request_id=None if self.request_id is None else clean_text(self.request_id),
            details=write_details(details or {}),
        )
        session.flush()  # what the act itself violates is found before the chain waits for it
        self._note(session, act.chain, _append(session, act))

    def _note(self, session: Session, chain: str, head: Head) -> None:
        noted: dict[str, Head] = session.info.setdefault(NOTED, {})
        if not noted:
            event.listen(session, "after_commit", self._advance, once=True)
            event.listen(session, "after_rollback", _forget, once=True)
        noted[chain] = head

    def _advance(self, session: Session) -> None:
        self.heads.advance(session.info.pop(NOTED, {}), ended=session.info.pop(ENDED, frozenset()))


def _forget(session: Session) -> None:
    """Nothing of it is true: who rolls back may go on with the same session, and commit something else."""
    session.info.pop(NOTED, None)
    session.info.pop(ENDED, None)


def _append(session: Session, act: Act) -> Head:
    head = _lock_head(session, act.chain)
    at = session.execute(select(database_now())).scalar_one()
    entry = seal(act, number=head.number + 1, at=at, previous_hash=head.hash)
    session.execute(insert(ENTRIES).values(**asdict(entry)))
    session.execute(update(CHAINS).where(CHAINS.c.chain == act.chain).values(number=entry.number, hash=entry.hash))
    return Head(number=entry.number, hash=entry.hash)


def _lock_head(session: Session, chain: str) -> Head:
    """Return the newest entry of a chain; nobody else adds one until this transaction ends."""
    head = _find_head(session, chain)
    if head is None:
        insert_missing(session, AuditChain, [{"chain": chain, "number": 0, "hash": GENESIS}])
        head = _find_head(session, chain)
    assert head is not None  # noqa: S101 - it was there, or it is now; narrows the type
    return head


def _find_head(session: Session, chain: str) -> Head | None:
    # The lock is PostgreSQL's; on SQLite the whole transaction has the database for itself.
    statement = select(CHAINS.c.number, CHAINS.c.hash).where(CHAINS.c.chain == chain).with_for_update()
    row = session.execute(statement).one_or_none()
    return None if row is None else Head(number=row.number, hash=row.hash)


def end_chain(session: Session, trail: Trail, project_id: str, slug: str) -> None:
    """Delete the chain of a project that is deleted; the installation's chain keeps how far it came and its last hash.

    Args:
        session: The transaction that deletes the project.
        trail: Who does that, in the installation's chain.
        project_id: Of the project.
        slug: Its name.
    """
    head = _lock_head(session, project_id)
    trail.tell(
        session, "project.delete", id=project_id, name=slug, details={"entries": head.number, "last_hash": head.hash}
    )
    # In this order: the database keeps entries whose chain has a head, and heads whose end no entry tells of.
    session.execute(delete(CHAINS).where(CHAINS.c.chain == project_id))
    session.execute(delete(ENTRIES).where(ENTRIES.c.chain == project_id))
    session.info[ENDED] = session.info.get(ENDED, frozenset()) | {project_id}
