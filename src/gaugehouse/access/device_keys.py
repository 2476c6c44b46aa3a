"""Keys of many devices at once: a fleet of a million gets them within minutes, not one request each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from gaugehouse.access.api_keys import SHOWN_CHARACTERS, NewApiKey, check_key_names, check_new_key, make_key
from gaugehouse.access.secret_text import hash_secret
from gaugehouse.database import database_now, new_id
from gaugehouse.database.tables import Base

KEYS = Base.metadata.tables["api_keys"]  # not the mapped class: a session would look at each row


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceKey:
    """A device, by the name of its component, and its new key: `key` is there now and never again."""

    component: str
    key: str


def add_device_keys(
    session: Session,
    project_id: str,
    components: Sequence[str],
    *,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> list[DeviceKey]:
    """Store a key for each of many components, named like it, and return them in the order given.

    Args:
        session: An open transaction.
        project_id: Of the project.
        components: Names; the components need not exist yet.
        scopes: As of `NewApiKey`, the same for all.
        expires_at: When all of them end by themselves.

    Raises:
        Refused: as `add_api_key`.
    """
    if not components:
        return []
    for component in components:
        check_key_names(component, component)
    now = session.scalars(select(database_now())).one()
    new = NewApiKey(name=components[0], component=components[0], scopes=scopes, expires_at=expires_at)
    held = [scope.value for scope in check_new_key(new, now)]  # once: a million times would be minutes
    keys = [DeviceKey(component=component, key=make_key()) for component in components]
    rows = [
        {
            "id": new_id("key"),
            "project_id": project_id,
            "name": one.component,
            "key_hash": hash_secret(one.key),
            "shown": one.key[:SHOWN_CHARACTERS],
            "component": one.component,
            "scopes": held,
            "created_at": now,
            "expires_at": expires_at,
        }
        for one in keys
    ]
    session.execute(insert(KEYS), rows)
    return keys
