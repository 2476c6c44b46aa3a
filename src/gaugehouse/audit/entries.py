"""What an entry is, and how its hash comes about. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

INSTALLATION = "installation"  # the chain of what concerns no single project
GENESIS = "0" * 64  # what the first entry of a chain follows
TEXT_CHARACTERS = 200
DETAILS_CHARACTERS = 2_000  # an entry tells what happened; the things themselves keep their versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What somebody did, before it has its place in a chain.

    Args:
        chain: Id of a project, or `INSTALLATION`.
        actor_kind: user, key, operator (the command line), service (the server by itself), or unknown.
        actor: Name of the user or key.
        action: One of `ACTIONS`.
        object_kind: What it was done to: component, report ...
        object_id, object_name: Of that, where it has them.
        source: Address of the client, or `local`.
        request_id: Of the request, as in the server's log.
        details: Canonical JSON.
    """

    chain: str
    actor_kind: str
    actor: str
    action: str
    object_kind: str
    object_id: str | None
    object_name: str | None
    source: str
    request_id: str | None
    details: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Act):
    """An act in its place: the `number`th of its chain, counted from 1.

    `hash` is the SHA-256 of the canonical JSON of all other fields, `previous_hash` among them.
    """

    number: int
    at: datetime
    previous_hash: str
    hash: str


def seal(act: Act, *, number: int, at: datetime, previous_hash: str) -> Entry:
    """Return an act as the entry that follows the one with `previous_hash`."""
    fields = asdict(act) | {"number": number, "at": at, "previous_hash": previous_hash}
    return Entry(**fields, hash=_digest(fields))


def hash_entry(entry: Entry, *, number: int | None = None) -> str:
    """Return the hash that an entry should have; with `number`, the one it would have in another place."""
    fields = asdict(entry)
    del fields["hash"]
    return _digest(fields if number is None else fields | {"number": number})


def _digest(fields: Mapping[str, Any]) -> str:
    # Six digits of a second always: what a database gives back has no other form than what went in.
    at = fields["at"].astimezone(UTC).isoformat(timespec="microseconds")
    return hashlib.sha256(canonical_json({**fields, "at": at}).encode("ascii")).hexdigest()


def canonical_json(value: object) -> str:
    """Return JSON in the one form that is hashed: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)


def write_details(details: Mapping[str, object]) -> str:
    """Return details as canonical JSON; of large ones only the names of their fields."""
    text = canonical_json(details)
    if len(text) <= DETAILS_CHARACTERS:
        return text
    names = sorted(str(name)[:TEXT_CHARACTERS] for name in details)[:20]
    return canonical_json({"fields": names, "shortened": True})[:DETAILS_CHARACTERS]


def clean_text(text: str) -> str:
    """Return a text from anywhere as both databases can store it, at most 200 characters long."""
    whole = text[:TEXT_CHARACTERS].encode("utf-8", "replace").decode()
    return "".join(character if character.isprintable() else "\ufffd" for character in whole)
