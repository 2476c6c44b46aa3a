"""Deliveries stay within a memory bound, sign-ins within a queue."""

import asyncio
import threading

import pytest
from starlette.requests import Request

from gaugehouse.errors import Overloaded, Throttled
from gaugehouse.web.threads import HASHES_AT_ONCE, SIGN_INS_WAITING, Deliveries, SignIns


def request_of(body, *, declared=True):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"text/csv")]
    if declared:
        headers.append((b"content-length", str(len(body)).encode()))
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def test_a_delivery_is_stored_with_its_media_type():
    async def store():
        deliveries = Deliveries()
        return await deliveries.store(request_of(b"abc"), lambda body, media_type: (body, media_type))

    assert asyncio.run(store()) == (b"abc", "text/csv")


@pytest.mark.parametrize("declared", [True, False])
def test_more_bytes_than_fit_in_memory_are_refused_until_others_are_stored(declared):
    async def store():
        deliveries = Deliveries(in_memory_limit_bytes=100)
        release = threading.Event()
        first = asyncio.create_task(deliveries.store(request_of(b"x" * 60), lambda *_: release.wait(5)))
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded) as refused:
            await deliveries.store(request_of(b"x" * 41, declared=declared), lambda *_: True)
        assert refused.value.retry_after_s == 1
        release.set()
        assert await first
        assert await deliveries.store(request_of(b"x" * 41, declared=declared), lambda *_: True)

    asyncio.run(store())


def test_bodies_that_are_announced_and_do_not_come_keep_nobody_out():
    async def store():
        deliveries, is_over = Deliveries(in_memory_limit_bytes=100), asyncio.Event()

        async def receive():
            await is_over.wait()
            return {"type": "http.request", "body": b"x", "more_body": False}

        scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"90")]}
        slow = [asyncio.create_task(deliveries.store(Request(scope, receive), lambda *_: True)) for _ in range(9)]
        await asyncio.sleep(0.01)
        assert await deliveries.store(request_of(b"x" * 60), lambda *_: True)
        is_over.set()
        assert all(await asyncio.gather(*slow))

    asyncio.run(store())


def encoded_request_of(*parts):
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False

    async def receive():
        return messages.pop(0)

    headers = [(b"content-length", b"5"), (b"content-encoding", b"gzip")]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def test_what_a_body_decodes_to_counts_not_what_its_header_says():
    async def store():
        deliveries = Deliveries(in_memory_limit_bytes=100)
        release = threading.Event()
        first = asyncio.create_task(
            deliveries.store(encoded_request_of(b"x" * 40, b"x" * 40), lambda *_: release.wait(5))
        )
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded):
            await deliveries.store(encoded_request_of(b"x" * 5, b"x" * 20), lambda *_: True)
        assert await deliveries.store(encoded_request_of(b"x" * 5), lambda body, _: len(body)) == 5
        release.set()
        assert await first
        assert await deliveries.store(encoded_request_of(b"x" * 60, b"x" * 60), lambda body, _: len(body)) == 120

    asyncio.run(store())


def test_a_delivery_that_fails_gives_its_memory_back():
    async def store():
        deliveries = Deliveries(in_memory_limit_bytes=60)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await deliveries.store(request_of(b"x" * 60), lambda *_: 1 / 0)

    asyncio.run(store())


def test_sign_ins_beyond_the_queue_are_turned_away():
    async def sign_in():
        sign_ins = SignIns()
        release = threading.Event()
        running = [
            asyncio.create_task(sign_ins.run(lambda: release.wait(5))) for _ in range(HASHES_AT_ONCE + SIGN_INS_WAITING)
        ]
        await asyncio.sleep(0.05)
        with pytest.raises(Throttled):
            await sign_ins.run(lambda: True)
        release.set()
        assert all(await asyncio.gather(*running))
        assert await sign_ins.run(lambda: True)

    asyncio.run(sign_in())


def test_sign_ins_that_come_at_the_same_moment_are_bounded_too():
    async def scenario():
        sign_ins, release = SignIns(), threading.Event()
        tasks = [asyncio.create_task(sign_ins.run(lambda: release.wait(5))) for _ in range(100)]
        await asyncio.sleep(0.1)
        release.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(scenario())
    refused = [outcome for outcome in outcomes if isinstance(outcome, Throttled)]
    assert len(refused) == 100 - HASHES_AT_ONCE - SIGN_INS_WAITING
    assert outcomes.count(True) == HASHES_AT_ONCE + SIGN_INS_WAITING
