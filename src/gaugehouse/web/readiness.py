"""Can this process do its work right now: asked of each part, within a bound."""

from collections.abc import Callable, Mapping

import anyio
from anyio.to_thread import run_sync
from sqlalchemy import select

from gaugehouse.errors import GaugehouseError, Unavailable
from gaugehouse.runtime import Runtime

CHECK_TIMEOUT_S = 2.0  # who asks waits five seconds or ten

Check = Callable[[Runtime], None]


def _check_lake(runtime: Runtime) -> None:
    """Raise what a write would be refused with."""
    runtime.lake.refuse_when_unfit()


def _check_database(runtime: Runtime) -> None:
    with runtime.database.reading() as session:  # anyone may ask: it must not take SQLite's one write lock
        session.execute(select(1))


CHECKS: Mapping[str, Check] = {"lake": _check_lake, "database": _check_database}


async def refuse_when_unready(
    runtime: Runtime, threads: anyio.CapacityLimiter, checks: Mapping[str, Check] = CHECKS
) -> None:
    """Return when every part is fit for work.

    Raises:
        Unavailable: a part is not, or does not answer in time; says which, and nothing more: anybody may ask.
    """
    for part, check in checks.items():
        if not await _passes(check, runtime, threads):
            raise Unavailable(
                f"the {part} is not ready", code=f"{part}_not_ready", fields={"part": part}, retry_after_s=5
            )


async def _passes(check: Check, runtime: Runtime, threads: anyio.CapacityLimiter) -> bool:
    with anyio.move_on_after(CHECK_TIMEOUT_S):
        try:
            await run_sync(check, runtime, limiter=threads, abandon_on_cancel=True)
        except GaugehouseError:
            return False
        return True
    return False
