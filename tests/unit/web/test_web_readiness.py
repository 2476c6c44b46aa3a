"""Ready or not: which part, and never a wait."""

import threading
import time

import anyio
import pytest

from gaugehouse.errors import StorageFull, Unavailable
from gaugehouse.web.readiness import refuse_when_unready
from gaugehouse.web.threads import CHECKS_AT_ONCE, Checks


def passes(_runtime):
    return None


def fails(_runtime):
    raise StorageFull("the disk of /srv/secret is full")


def ask(parts):
    async def call():
        await refuse_when_unready(None, Checks(), parts)

    anyio.run(call)


def test_it_is_ready_when_every_part_is():
    ask({"lake": passes, "database": passes})


@pytest.mark.parametrize("part", ["lake", "database"])
def test_the_part_is_named_and_nothing_else_told(part):
    with pytest.raises(Unavailable) as refused:
        ask({"lake": passes, "database": passes} | {part: fails})
    assert (refused.value.code, refused.value.fields) == (f"{part}_not_ready", {"part": part})
    assert "secret" not in refused.value.message


def test_a_part_that_hangs_is_not_ready_and_keeps_no_more_than_its_threads():
    released = threading.Event()
    hanging = []

    def hangs(_runtime):
        hanging.append(1)
        released.wait(10)

    async def call():
        checks = Checks(timeout_s=0.02)
        began_s = time.monotonic()
        for _ in range(CHECKS_AT_ONCE + 3):
            with pytest.raises(Unavailable):
                await refuse_when_unready(None, checks, {"database": hangs})
        waited_s = time.monotonic() - began_s
        released.set()
        return waited_s

    assert anyio.run(call) < 2
    assert len(hanging) == CHECKS_AT_ONCE
