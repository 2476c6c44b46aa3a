"""Is the process alive, and can it serve. No credentials, no details."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from gaugehouse.errors import GaugehouseError, Unavailable
from gaugehouse.web.problems import refusals
from gaugehouse.web.security import InRuntime

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """A sign of life."""

    status: str = Field("ok", examples=["ok"])


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="Alive", operation_id="read_health", responses=refusals(422))
async def read_health() -> Health:
    """Answer as long as the process can answer at all; waits for no thread, disk or lock."""
    return Health(status="ok")


@router.head("/ready", include_in_schema=False)
@router.get("/ready", summary="Ready", operation_id="read_readiness", responses=refusals(422, 503))
def read_readiness(runtime: InRuntime) -> Health:
    """Answer 200 when the lake takes writes and the database answers."""
    try:
        runtime.lake.refuse_when_unfit()
    except GaugehouseError as exc:  # whoever asks whether we are ready gets one status for no
        raise Unavailable(f"the lake: {exc.message}", code="lake_not_ready", retry_after_s=5) from exc
    with runtime.database.reading() as session:  # anyone may ask: it must not take SQLite's one write lock
        runtime.database.now(session)
    return Health(status="ok")
