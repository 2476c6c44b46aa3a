"""A component moves to another project. What it sent before stays where it was sent to."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.access import move_device_keys
from gaugehouse.database import database_now, new_id
from gaugehouse.database.tables import Component, Metric
from gaugehouse.errors import AlreadyExists, Refused
from gaugehouse.inventory.components import ComponentView, get_component

METRIC_COLUMNS = tuple(
    column.key
    for column in Metric.__table__.columns
    if column.key not in {"id", "project_id", "component_id", "created_at", "updated_at"}
)
COMPONENT_COLUMNS = ("title", "type", "labels", "attributes", "oee", "search_text", "commissioned_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What came of a move: the component as the other project has it, and how many device keys went along."""

    component: ComponentView
    source_component_id: str
    keys: int


def move_component(session: Session, name_or_id: str, *, source_id: str, target_id: str) -> Move:
    """Move a component to another project, with what is known about it and its device keys.

    The old project keeps it retired, with its rows: names in the lake never change. A component that comes back to a
    project which it left is brought back there.

    Args:
        session: An open transaction.
        name_or_id: The component, as the old project calls it.
        source_id: Id of the old project.
        target_id: Id of the new one.

    Raises:
        NotFound: the old project has none of that name.
        Refused: the two projects are the same.
        AlreadyExists: the new one has a component of that name, or this one has moved away already.
    """
    if source_id == target_id:
        raise Refused("the component is in this project already", code="same_project")
    old = session.get_one(Component, get_component(session, source_id, name_or_id).id, with_for_update=True)
    if old.moved_to is not None:
        raise AlreadyExists(f"{old.name!r} has moved away already", code="component_moved")
    new = _find_returned(session, old.name, target_id) or Component(
        id=new_id("cmp"), project_id=target_id, name=old.name
    )
    now = session.scalars(select(database_now())).one()
    for column in COMPONENT_COLUMNS:
        setattr(new, column, getattr(old, column))
    new.retired_at, new.moved_to, new.updated_at = old.retired_at, None, now
    old.retired_at, old.moved_to, old.updated_at = old.retired_at or now, target_id, now
    session.add(new)
    session.flush()
    _copy_metrics(session, old, new)
    keys = move_device_keys(session, old.name, source_id=source_id, target_id=target_id)
    return Move(component=get_component(session, target_id, new.id), source_component_id=old.id, keys=keys)


def _find_returned(session: Session, name: str, target_id: str) -> Component | None:
    """Return the row of a component that left the project before, to be used again.

    Raises:
        AlreadyExists: there is another component of that name.
    """
    statement = select(Component).where(Component.project_id == target_id, Component.name == name).with_for_update()
    row = session.scalars(statement).one_or_none()
    if row is not None and row.moved_to is None:
        raise AlreadyExists(
            f"the other project has a component {name!r} already", code="component_exists", fields={"names": [name]}
        )
    return row


def _copy_metrics(session: Session, old: Component, new: Component) -> None:
    """Let the attributes that metrics have of this component only be the same in the new project."""
    for row in session.scalars(select(Metric).where(Metric.component_id == new.id)).all():
        session.delete(row)
    session.flush()
    for row in session.scalars(select(Metric).where(Metric.component_id == old.id)).all():
        values = {column: getattr(row, column) for column in METRIC_COLUMNS}
        session.add(Metric(id=new_id("met"), project_id=new.project_id, component_id=new.id, **values))
    session.flush()
