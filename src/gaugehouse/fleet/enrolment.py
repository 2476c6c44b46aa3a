"""Many devices at once: each becomes a component and gets a key of its own.

A device that holds a key already gets no second one: enrolling can be repeated after an interruption, with a list that
has grown, and whoever lost a key has it replaced, one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.access import DeviceKey, add_device_keys
from gaugehouse.database import database_now
from gaugehouse.database.tables import ApiKey
from gaugehouse.inventory import NewComponent, add_missing_components
from gaugehouse.inventory.checks import split_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What became of devices.

    Args:
        keys: Of those that had none, in the order given; they are there now and never again.
        created: How many were no components of the project before.
        keyed: How many hold a key already, and got none.
    """

    keys: list[DeviceKey]
    created: int
    keyed: int


def enrol(
    session: Session,
    project_id: str,
    devices: Sequence[NewComponent],
    *,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> Enrolled:
    """Create components that the project lacks, and a key for each that has none which counts.

    Args:
        session: An open transaction.
        project_id: Of the project.
        devices: Components that exist stay as they are.
        scopes: Of the keys; none given are those of a device: writing, its own status and firmware target.
        expires_at: When the keys end by themselves.

    Raises:
        RowsRefused: names, titles or types are not acceptable, or a name repeats.
        Refused: an expiry or a scope that no key of a device can have.
        AlreadyExists: somebody else created one of the components at this moment.
    """
    created = add_missing_components(session, project_id, devices)
    names = [device.name for device in devices]
    keyed = find_keyed(session, project_id, names)
    wanting = [name for name in names if name not in keyed]
    keys = add_device_keys(session, project_id, wanting, scopes=scopes, expires_at=expires_at)
    return Enrolled(keys=keys, created=created, keyed=len(keyed))


def find_keyed(session: Session, project_id: str, components: Sequence[str]) -> set[str]:
    """Return which components, by name, hold a key of the project that counts; personal keys are people's."""
    found: set[str] = set()
    for portion in split_names(components):
        statement = select(ApiKey.component).where(
            ApiKey.project_id == project_id,
            ApiKey.component.in_(portion),
            ApiKey.owner_id.is_(None),
            ApiKey.revoked_at.is_(None),
            ApiKey.expires_at.is_(None) | (ApiKey.expires_at > database_now()),
        )
        found.update(name for name in session.scalars(statement) if name is not None)
    return found
