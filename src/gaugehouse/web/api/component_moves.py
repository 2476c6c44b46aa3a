"""Components that move to another project."""

from dataclasses import replace

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.orm import Session

from gaugehouse.access import Caller, Role, find_role
from gaugehouse.errors import NotFound
from gaugehouse.inventory import ComponentView, Move, ProjectView, find_project, move_component
from gaugehouse.web.api.component_rows import ComponentInPath
from gaugehouse.web.auditing import InOrigin, Origin
from gaugehouse.web.edge import EdgeBody
from gaugehouse.web.problems import CHANGING, WITH_BODY, refusals
from gaugehouse.web.security import Admin, InRuntime

router = APIRouter(prefix="/v1/components", tags=["components"])


class MoveBody(EdgeBody):
    """Where a component goes."""

    project: str = Field(examples=["north"], description="Slug of the other project; you must be admin of both")


@router.post(
    "/{component}/move",
    summary="Move to another project",
    operation_id="move_component",
    responses=refusals(*CHANGING, *WITH_BODY, 404, 409),
)
def move(
    runtime: InRuntime, caller: Admin, origin: InOrigin, component: ComponentInPath, body: MoveBody
) -> ComponentView:
    """Move a component, with its device keys. What it sent before stays here, and it reads that no longer."""
    with runtime.database.transaction() as session:
        target = _get_target(session, caller, body.project)
        moved = move_component(session, component, source_id=caller.project_id, target_id=target.id)
        _tell(session, origin, caller, target, moved)
    return moved.component


def _get_target(session: Session, caller: Caller, slug: str) -> ProjectView:
    """Return the project that a component may be moved to.

    Raises:
        NotFound: there is none, or the caller is not its admin: the answer is the same.
    """
    project = find_project(session, slug)
    is_theirs = project is not None and (
        caller.kind == "operator" or find_role(session, caller.id, project.id) is Role.ADMIN
    )
    if project is None or not is_theirs:
        raise NotFound("the project does not exist or is not yours", code="project_not_found")
    return project


def _tell(session: Session, origin: Origin, caller: Caller, target: ProjectView, moved: Move) -> None:
    trail, name = origin.by(caller), moved.component.name
    details = {"from": caller.project, "to": target.slug, "keys": moved.keys}
    told = [(caller.project_id, moved.source_component_id), (target.id, moved.component.id)]
    for project_id, component_id in sorted(told):  # one order for all: no two moves wait for each other's chains
        replace(trail, project_id=project_id).tell(
            session, "component.move", id=component_id, name=name, details=details
        )
