"""Is the process alive, and can it serve. No credentials, no details."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from gaugehouse.web.problems import refusals
from gaugehouse.web.readiness import refuse_when_unready
from gaugehouse.web.security import InRuntime
from gaugehouse.web.threads import InThreads

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """A sign of life."""

    status: str = Field("ok", examples=["ok"])


class Readiness(BaseModel):
    """Fit for work."""

    status: str = Field("ready", examples=["ready"])


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="Alive", operation_id="read_health", responses=refusals(422))
async def read_health() -> Health:
    """Answer as long as the process can answer at all; waits for no thread, disk or lock."""
    return Health(status="ok")


@router.head("/ready", include_in_schema=False)
@router.get("/ready", summary="Ready", operation_id="read_readiness", responses=refusals(422, 503))
async def read_readiness(runtime: InRuntime, threads: InThreads) -> Readiness:
    """Answer 200 when the lake takes writes and the database answers; else 503 with the `part` that does not."""
    await refuse_when_unready(runtime, threads.checks)
    return Readiness(status="ready")
