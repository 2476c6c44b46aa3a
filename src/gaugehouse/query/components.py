"""Which components a question is about, by name, id, type or label."""

from collections.abc import Mapping, Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from gaugehouse.database.ids import is_id
from gaugehouse.database.tables import NAME_CHARACTERS, Component
from gaugehouse.errors import MAX_ROWS_NAMED, NotFound
from gaugehouse.inventory import Registry, find_component_names
from gaugehouse.inventory.checks import split_names
from gaugehouse.measurements.names import find_name_problem


def resolve_components(
    session: Session,
    project_id: str,
    *,
    names: Sequence[str] | None = None,
    type: str | None = None,  # noqa: A002 - the word of the API
    labels: Mapping[str, str] | None = None,
    visible: str | None = None,
) -> tuple[str, ...] | None:
    """Return the names of the components that fit everything given, sorted, retired ones included.

    Args:
        session: An open session.
        project_id: The one project.
        names: Names or ids; None is every component.
        type: Exactly this type.
        labels: All of these labels with these values.
        visible: Name of the only component the caller may see, which need not exist yet; None is all of them.

    Returns:
        None when nothing is given and all may be seen: every component, without a list.

    Raises:
        NotFound: Names that the project does not have, or the caller may not see: the answer is the same; the first
            20 are named.
    """
    if names is None and type is None and not labels:
        return None if visible is None else (visible,)
    fitting = None
    if type is not None or labels:
        fitting = find_component_names(session, project_id, type=type, labels=labels)
    if names is None:
        return tuple(name for name in fitting or () if visible in {None, name})
    chosen = _find_named(session, project_id, names, visible)
    return tuple(sorted(chosen if fitting is None else chosen & set(fitting)))


def find_known_names(
    registry: Registry, project: str, names: Sequence[str], *, visible: str | None = None
) -> tuple[str, ...] | None:
    """Return what `resolve_components` would for names alone, from memory; None when the database must be asked.

    Args:
        registry: Knows the names of this process's deliveries.
        project: Slug of the one project.
        names: Names or ids.
        visible: As in `resolve_components`.
    """
    if any(is_id(name, "cmp") or visible not in {None, name} for name in names):
        return None
    return tuple(sorted(set(names))) if registry.are_in_memory(project, names, ()) else None


def _find_named(session: Session, project_id: str, names: Sequence[str], visible: str | None) -> set[str]:
    """Return the names of components given by name or id; an id wins over a component that is named like it."""
    asked = list(dict.fromkeys(names))
    storable = [name for name in asked if find_name_problem(name) is None]  # others would make a driver fail
    by_id: dict[str, str] = {}
    found: set[str] = set()
    for portion in split_names(storable):
        given = or_(Component.id.in_(portion), Component.name.in_(portion))
        for row in session.execute(
            select(Component.id, Component.name).where(Component.project_id == project_id, given)
        ):
            if visible in {None, row.name}:
                by_id[row.id] = row.name
                found.add(row.name)
    missing = [name for name in asked if name not in by_id and name not in found]
    if missing:
        shown = [show_name(name) for name in missing[:MAX_ROWS_NAMED]]
        raise NotFound(
            f"there is no component {shown[0]!r}" + (f", nor {len(missing) - 1} others" if len(missing) > 1 else ""),
            code="component_not_found",
            fields={"names": shown},
        )
    return {by_id.get(name, name) for name in asked}


def show_name(name: str) -> str:
    """Return a name as an error may repeat it: not endless, and text that any encoder takes."""
    return name[:NAME_CHARACTERS].encode(errors="replace").decode()
