"""Can this process do its work right now: asked of each part, within a bound."""

from collections.abc import Callable, Mapping
from functools import partial

from sqlalchemy import select

from gaugehouse.errors import Unavailable
from gaugehouse.runtime import Runtime
from gaugehouse.web.threads import Checks


def _check_lake(runtime: Runtime) -> None:
    """Raise what a write would be refused with."""
    runtime.lake.refuse_when_unfit()


def _check_database(runtime: Runtime) -> None:
    with runtime.database.reading() as session:  # anyone may ask: it must not take SQLite's one write lock
        session.execute(select(1))


PARTS: Mapping[str, Callable[[Runtime], None]] = {"lake": _check_lake, "database": _check_database}


async def refuse_when_unready(
    runtime: Runtime, checks: Checks, parts: Mapping[str, Callable[[Runtime], None]] = PARTS
) -> None:
    """Return when every part is fit for work.

    Raises:
        Unavailable: a part is not, or does not answer in time; says which, and nothing more: anybody may ask.
    """
    for part, check in parts.items():
        if not await checks.passes(partial(check, runtime)):
            raise Unavailable(
                f"the {part} is not ready", code=f"{part}_not_ready", fields={"part": part}, retry_after_s=5
            )
