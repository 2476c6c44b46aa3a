"""The body guard counts bytes and time itself."""

import asyncio
import json

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from gaugehouse.errors import TooLarge, TooSlow
from gaugehouse.web.body import GRACE_S, BodyGuard, CountedBody, find_header_problem


def scope_with(*headers, path="/v1/measurements"):
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "state": {"request_id": "req-12345678"},
    }


def parts(*bodies, endless=False):
    messages = [{"type": "http.request", "body": body, "more_body": True} for body in bodies]
    if not endless:
        messages[-1]["more_body"] = False

    async def receive():
        if messages:
            return messages.pop(0)
        await asyncio.sleep(3600)
        return None

    return receive


async def drain(counted):
    received = b""
    while True:
        message = await counted()
        received += message["body"]
        if not message["more_body"]:
            return received


def test_a_body_below_the_limit_passes_unchanged():
    counted = CountedBody(parts(b"a" * 60, b"b" * 40), limit_bytes=100, timeout_s=1)
    assert asyncio.run(drain(counted)) == b"a" * 60 + b"b" * 40


def test_a_body_over_the_limit_is_refused_without_any_content_length():
    counted = CountedBody(parts(b"a" * 60, b"b" * 41), limit_bytes=100, timeout_s=1)
    with pytest.raises(TooLarge):
        asyncio.run(drain(counted))


def test_a_body_that_stops_coming_is_refused_after_the_timeout():
    counted = CountedBody(parts(b"a", endless=True), limit_bytes=100, timeout_s=0.05)
    with pytest.raises(TooSlow):
        asyncio.run(drain(counted))


def test_a_body_that_drips_below_the_minimum_rate_is_refused_before_the_timeout():
    now_s = [0.0]

    async def receive():
        now_s[0] += 1.0
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x", "more_body": True}

    counted = CountedBody(receive, limit_bytes=10_000, timeout_s=3600, clock=lambda: now_s[0])
    with pytest.raises(TooSlow):
        asyncio.run(drain(counted))
    assert GRACE_S <= now_s[0] <= GRACE_S + 2


def test_a_body_at_the_minimum_rate_may_take_its_time():
    now_s = [0.0]

    async def receive():
        now_s[0] += 1.0
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x" * 1024, "more_body": now_s[0] < 25}

    counted = CountedBody(receive, limit_bytes=10**6, timeout_s=30, clock=lambda: now_s[0])
    assert len(asyncio.run(drain(counted))) == 25 * 1024


def test_waiting_for_a_disconnect_after_the_body_has_no_timeout():
    async def wait():
        counted = CountedBody(parts(b"a"), limit_bytes=100, timeout_s=0.02)
        await drain(counted)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(counted(), 0.1)

    asyncio.run(wait())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("content-length", "5"), ("transfer-encoding", "chunked")], 400),
        ([("content-length", "5"), ("content-length", "6")], 400),
        ([("content-length", "-5")], 400),
        ([("content-length", "101")], 413),
        ([("content-encoding", "br")], 415),
        ([("content-encoding", "gzip, gzip")], 415),
        ([("content-encoding", "identity")], None),
        ([("content-length", "100")], None),
        ([("transfer-encoding", "chunked")], None),
    ],
)
def test_headers_alone_can_refuse_a_request(headers, status):
    sent = []

    async def app(scope, receive, send):
        body = await Request(scope, receive).body()
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    async def send(message):
        sent.append(message)

    guard = BodyGuard(app, limit_bytes=100, timeout_s=1, ingest_paths=frozenset({"/v1/measurements"}))
    asyncio.run(guard(scope_with(*headers), parts(b"12345"), send))
    assert sent[0]["status"] == (status or 200)
    if status:
        assert json.loads(sent[1]["body"])["status"] == status


def test_other_addresses_take_small_bodies_only():
    assert find_header_problem(scope_with(("content-length", "5000000")), 10_000_000) is None
    sent = []

    async def send(message):
        sent.append(message)

    async def never(scope, receive, send):
        pytest.fail("the application ran")

    guard = BodyGuard(never, limit_bytes=10_000_000, timeout_s=1, ingest_paths=frozenset({"/v1/measurements"}))
    scope = scope_with(("content-length", "5000000"), path="/v1/reports")
    asyncio.run(guard(scope, parts(b"12345"), send))
    assert sent[0]["status"] == 413


def test_a_body_over_the_limit_is_read_to_its_end_before_it_is_refused():
    receive = parts(*[b"x" * 1000] * 50)

    async def read():
        counted = CountedBody(receive, limit_bytes=100, timeout_s=1)
        with pytest.raises(TooLarge):
            await counted()
        with pytest.raises(TimeoutError):  # nothing is left
            await asyncio.wait_for(receive(), 0.02)

    asyncio.run(read())


def test_who_expects_a_100_first_is_refused_before_writing():
    sent = []

    async def never():
        pytest.fail("the body was asked for")

    async def send(message):
        sent.append(message)

    guard = BodyGuard(never, limit_bytes=100, timeout_s=1, ingest_paths=frozenset())
    asyncio.run(guard(scope_with(("content-length", "101"), ("expect", "100-continue")), never, send))
    assert sent[0]["status"] == 413
