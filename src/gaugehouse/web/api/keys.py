"""API keys of a project, for admins: made, looked at, replaced, ended. A key itself is shown once."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from gaugehouse.access import (
    ApiKeyView,
    MadeApiKey,
    NewApiKey,
    Scope,
    add_api_key,
    get_api_key,
    load_api_keys,
    revoke_api_key,
    rotate_api_key,
)
from gaugehouse.inventory import Page
from gaugehouse.web.api.lists import ListCursor, ListLimit
from gaugehouse.web.auditing import InOrigin
from gaugehouse.web.edge import EdgeBody, Instant
from gaugehouse.web.problems import CHANGING, SECURED, WITH_BODY, refusals
from gaugehouse.web.security import Admin, InRuntime

router = APIRouter(prefix="/v1/keys", tags=["keys"])

DAY_S = 86_400
OverlapS = Annotated[
    float, Query(ge=0, allow_inf_nan=False, description="How long the older one still counts [s]; at most 30 days")
]


class NewKeyBody(EdgeBody):
    """A key to make."""

    name: str = Field(examples=["line 3"], description="1-200 characters, for people")
    component: str | None = Field(None, examples=["press-1"], description="The one component it is bound to, by name")
    scopes: list[str] = Field(
        default_factory=list,
        max_length=len(Scope),
        examples=[["measurements:write"]],
        description="None: to write and read; of one component to write, and to read its status and firmware target",
    )
    read_only: bool = Field(False, description="It must not write, whatever else")
    expires_at: Instant | None = Field(None, description="When it ends by itself")

    def as_new(self) -> NewApiKey:
        """Return what the body asks for."""
        return NewApiKey(
            name=self.name,
            component=self.component,
            scopes=self.scopes,
            is_read_only=self.read_only,
            expires_at=self.expires_at,
        )


def tell_made(made: MadeApiKey) -> dict[str, object]:
    """Return what the audit log keeps of a new key."""
    view = made.view
    expires_at = None if view.expires_at is None else view.expires_at.isoformat()
    return {"scopes": list(view.scopes), "component": view.component, "owner": view.owner, "expires_at": expires_at}


def tell_rotated(old: ApiKeyView, made: MadeApiKey) -> dict[str, object]:
    """Return what the audit log keeps of a rotation."""
    ends_at = old.revoked_at or old.expires_at
    return {"successor": made.view.id, "ends_at": None if ends_at is None else ends_at.isoformat()}


@router.get("", summary="List keys", operation_id="find_keys", responses=refusals(*SECURED))
def list_keys(
    runtime: InRuntime,
    caller: Admin,
    component: Annotated[str | None, Query(description="Those bound to this component, by its name")] = None,
    limit: ListLimit = 100,
    cursor: ListCursor = None,
) -> Page[ApiKeyView]:
    """Return the keys of the project, personal ones too, the newest first; of each what can be told."""
    with runtime.database.reading() as session:
        return load_api_keys(session, caller.project_id, component=component, limit=limit, cursor=cursor)


@router.post(
    "",
    status_code=201,
    summary="Make a key",
    operation_id="create_key",
    responses=refusals(*CHANGING, *WITH_BODY),
)
def create_key(runtime: InRuntime, caller: Admin, origin: InOrigin, body: NewKeyBody, response: Response) -> MadeApiKey:
    """Make a key and return it, for the only time."""
    with runtime.database.transaction() as session:
        made = add_api_key(session, body.as_new(), project_id=caller.project_id)
        origin.by(caller).tell(session, "key.create", id=made.view.id, name=made.view.name, details=tell_made(made))
    response.headers["Location"] = f"/v1/keys/{made.view.id}"
    return made


@router.get("/{key_id}", summary="One key", operation_id="read_key", responses=refusals(*SECURED, 404))
def read_key(runtime: InRuntime, caller: Admin, key_id: str) -> ApiKeyView:
    """Return what can be told about a key: what it may, when it was last used, when it ends."""
    with runtime.database.reading() as session:
        return get_api_key(session, caller.project_id, key_id)


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    summary="Replace a key",
    operation_id="rotate_key",
    responses=refusals(*CHANGING, 404, 409),
)
def rotate_key(
    runtime: InRuntime, caller: Admin, origin: InOrigin, key_id: str, overlap_s: OverlapS = DAY_S
) -> MadeApiKey:
    """Make a key that may the same and return it, for the only time; the older one ends after the overlap.

    A personal key is its owner's to replace.
    """
    with runtime.database.transaction() as session:
        made = rotate_api_key(session, caller.project_id, key_id, overlap_s=overlap_s)
        old = get_api_key(session, caller.project_id, key_id)
        origin.by(caller).tell(session, "key.rotate", id=old.id, name=old.name, details=tell_rotated(old, made))
    return made


@router.delete("/{key_id}", summary="End a key", operation_id="revoke_key", responses=refusals(*CHANGING, 404))
def revoke_key(runtime: InRuntime, caller: Admin, origin: InOrigin, key_id: str) -> ApiKeyView:
    """End a key; it is refused within a second. It stays listed."""
    with runtime.database.transaction() as session:
        ended = revoke_api_key(session, caller.project_id, key_id)
        origin.by(caller).tell(session, "key.revoke", id=ended.id, name=ended.name, details={"owner": ended.owner})
    return ended
