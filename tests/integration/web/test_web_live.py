"""Live data over a WebSocket and over Server-Sent Events: the same messages, the same refusals, the same ends."""

import asyncio
import itertools
import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from gaugehouse.access import create_api_key, create_user, revoke_api_key
from gaugehouse.database.tables import ApiKey
from gaugehouse.inventory import create_project, get_project, move_component
from gaugehouse.web import create_app, live
from gaugehouse.web.api import live_socket
from integration.web.conftest import signed_in
from live_lines import Socket, Stream

FAST = {"max_rate_hz": 10}
seconds = itertools.count()
names = itertools.count()


@pytest.fixture
def component():
    return f"live-{next(names)}"


def measured(component, value, metric="m"):
    measured_at = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=next(seconds))
    return {"component": component, "metric": metric, "measured_at": measured_at.isoformat(), "value": value}


def token_of(client):
    return client.headers["Authorization"].removeprefix("Bearer ")


async def post(client, rows, path="/v1/measurements"):
    answer = await asyncio.to_thread(client.post, path, json=rows)
    assert answer.status_code == 201, answer.text
    return answer.json()


@asynccontextmanager
async def listening(app, client, kind=Socket, **asked):
    """A reader that was welcomed, over either line."""
    line = kind()
    if kind is Socket:
        assert await line.open(app) is None
        await line.say(token=token_of(client), subscribe=FAST | asked)
    else:
        query = "&".join(f"{FIELDS.get(name, name)}={_query(value)}" for name, value in (FAST | asked).items())
        status, _headers = await line.open(app, headers=client.headers, query=query)
        assert status == 200
    await line.until("welcome")
    yield line
    await line.leave()


FIELDS = {"components": "component", "metrics": "metric", "kinds": "kind", "reports": "report", "labels": "label"}


def _query(value):
    return ",".join(value) if isinstance(value, list) else str(value).lower()


def values_of(message):
    return {(row["component"], row["metric"]): row["value"] for row in message["items"]}


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_a_reader_gets_the_newest_values_and_then_what_changes(app, manager, component, kind):
    async def scenario():
        await post(manager, [measured(component, 1), measured(component, 2), measured(component, 7, "other")])
        async with listening(app, manager, kind, components=[component], metrics=["m"]) as line:
            first = await line.until("measurements")
            await post(manager, [measured(component, value) for value in (3, 4, 5)])
            second = await line.until("measurements")
        return first, second

    first, second = asyncio.run(scenario())
    assert (first["snapshot"], first["coalesced"], values_of(first)) == (True, 0, {(component, "m"): 2})
    assert (second["snapshot"], second["coalesced"], values_of(second)) == (False, 2, {(component, "m"): 5})
    assert first["id"] < second["id"] == second["items"][0]["received_at"]


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_events_arrive_by_kind_with_their_bodies(app, manager, component, kind):
    async def scenario():
        await post(manager, [measured(component, 1)])
        asked = {"components": [component], "kinds": ["alarm"], "measurements": False}
        async with listening(app, manager, kind, **asked) as line:
            for number, event in enumerate(("idle", "alarm")):
                at = f"2026-11-20T10:00:0{number}Z"
                row = {"component": component, "kind": event, "occurred_at": at, "body": {"code": number}}
                await post(manager, [row], "/v1/events")
            return await line.until("events")

    told = asyncio.run(scenario())
    assert told["dropped"] == 0
    assert [(row["kind"], row["body"]) for row in told["items"]] == [("alarm", {"code": 1})]
    assert "body_hash" not in told["items"][0]


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_components_that_come_later_are_followed_too(app, manager, component, kind):
    async def scenario():
        async with listening(app, manager, kind, snapshot=False) as line:
            await post(manager, [measured(component, 1)])
            return await line.until("measurements")

    told = asyncio.run(scenario())
    assert values_of(told) == {(component, "m"): 1}
    assert told["snapshot"] is False


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_who_comes_back_with_the_last_id_gets_what_changed_meanwhile(app, manager, component, kind):
    other = f"{component}-other"

    async def scenario():
        await post(manager, [measured(component, 1), measured(other, 1)])
        async with listening(app, manager, kind, components=[component, other]) as line:
            last = (await line.until("measurements"))["id"]
        await post(manager, [measured(other, 2), measured(other, 3)])
        asked = {"components": [component, other]}
        if kind is Socket:
            async with listening(app, manager, kind, last_event_id=last, **asked) as line:
                return last, await line.until("measurements")
        line = Stream()
        query = f"component={component},{other}"
        await line.open(app, headers=manager.headers | {"Last-Event-ID": last}, query=query)
        told = await line.until("measurements")
        await line.leave()
        assert told["frame_id"] == told["id"]
        return last, told

    last, told = asyncio.run(scenario())
    assert values_of(told) == {(other, "m"): 3}
    assert (told["snapshot"], told["coalesced"]) == (False, None)  # nobody counted
    assert told["id"] > last


def test_missed_events_are_admitted(app, manager, component):
    async def scenario():
        await post(manager, [measured(component, 1)])
        async with listening(
            app, manager, last_event_id="2026-01-01T00:00:00Z", events=True, measurements=False
        ) as line:
            return await line.until("notice")

    notice = asyncio.run(scenario())
    assert notice["code"] == "events_missed"
    assert notice["received_after"] == "2026-01-01T00:00:00Z"


def test_a_wish_can_be_changed(app, manager, component):
    other = f"{component}-other"

    async def scenario():
        await post(manager, [measured(component, 1), measured(other, 2)])
        async with listening(app, manager, components=[component]) as line:
            await line.until("measurements")
            await line.say(subscribe={"components": [other], "max_rate_hz": 10})
            welcome = await line.until("welcome")
            return welcome, await line.until("measurements")

    welcome, told = asyncio.run(scenario())
    assert welcome["series"] == 1
    assert values_of(told) == {(other, "m"): 2}


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_projects_do_not_see_each_other(app, runtime, anonymous, manager, component, kind):
    with runtime.database.transaction() as session:
        slug = f"apart-{component}"
        create_project(session, slug)
        key = create_api_key(session, name="sender", project=slug)
        watcher = create_api_key(session, name="watcher", project=slug, scopes=["measurements:read"])
    theirs = anonymous.with_headers(X_API_Key=key)

    async def scenario():
        await post(manager, [measured(component, 1)])
        line = kind()
        if kind is Socket:
            await line.open(app)
            await line.say(token=watcher, subscribe=FAST)
        else:
            await line.open(app, headers={"x-api-key": watcher}, query="max_rate_hz=10")
        await line.until("welcome")
        await post(manager, [measured(component, 2)])
        await post(theirs, [measured("their-own", 3)])
        await post(manager, [measured(component, 4)])
        told = [await line.until("measurements")]
        await asyncio.sleep(0.3)
        await post(theirs, [measured("their-own", 5)])
        told.append(await line.until("measurements"))
        await line.leave()
        return told

    assert [values_of(one) for one in asyncio.run(scenario())] == [
        {("their-own", "m"): 3.0},
        {("their-own", "m"): 5.0},
    ]


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"components": ["nobody-has-this"]}, 404, "component_not_found"),
        ({"reports": ["rep_nobody"]}, 404, "report_not_found"),
        ({"max_rate_hz": 50}, 422, "request_refused"),
        ({"measurements": False}, 422, "nothing_asked"),
        ({"last_event_id": "yesterday"}, 422, "period_refused"),
    ],
)
def test_what_cannot_be_followed_is_refused_alike(app, manager, asked, status, code):
    async def over_socket():
        line = Socket()
        await line.open(app)
        await line.say(token=token_of(manager), subscribe=asked)
        return await line.end()

    async def over_stream():
        line = Stream()
        last = asked.get("last_event_id")
        headers = manager.headers | ({"Last-Event-ID": last} if last else {})
        rest = {name: value for name, value in asked.items() if name != "last_event_id"}
        query = "&".join(f"{FIELDS.get(name, name)}={_query(value)}" for name, value in rest.items())
        found, _headers = await line.open(app, headers=headers, query=query)
        return found, await line.body()

    notice, closed = asyncio.run(over_socket())
    assert (notice["code"], notice["status"], closed) == (code, status, 4000 + status)
    found, body = asyncio.run(over_stream())
    assert (found, body["code"]) == (status, code)


@pytest.mark.parametrize(
    ("scopes", "asked", "needed"),
    [
        (["events:read"], {}, "measurements:read"),
        (["measurements:read"], {"events": True}, "events:read"),
        (["measurements:read"], {"reports": ["rep_x"]}, "reports:read"),
    ],
)
def test_what_is_asked_for_decides_which_scope_it_needs(app, make_key, scopes, asked, needed):
    key = make_key(scopes=scopes).headers["X-API-Key"]

    async def scenario():
        line = Socket()
        await line.open(app)
        await line.say(token=key, subscribe=asked)
        return await line.end()

    notice, closed = asyncio.run(scenario())
    assert (closed, notice["scopes_needed"]) == (4403, [needed])


def test_a_key_of_one_component_follows_that_one(app, manager, make_key, component):
    key = make_key(scopes=["measurements:read"], component=component).headers["X-API-Key"]

    async def scenario():
        await post(manager, [measured(component, 1), measured(f"{component}-other", 2)])
        line = Socket()
        await line.open(app)
        await line.say(token=key, subscribe=FAST)
        told = await line.until("measurements")
        await line.leave()
        line = Socket()
        await line.open(app)
        await line.say(token=key, subscribe={"components": [f"{component}-other"]})
        return told, await line.end()

    told, (notice, closed) = asyncio.run(scenario())
    assert values_of(told) == {(component, "m"): 1}
    assert (closed, notice["code"]) == (4404, "component_not_found")


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("no json", 4400),
        ("[]", 4422),
        ('{"token": "x", "surprise": 1}', 4422),
        ('{"subscribe": {}}', 4401),
        ('{"token": "not.a.token"}', 4401),
        ('{"token": "ghk_000000000000000000000000000000000000"}', 4401),
    ],
)
def test_a_first_message_that_does_not_count_ends_the_socket(app, text, closed):
    async def scenario():
        line = Socket()
        await line.open(app)
        await line.say_text(text)
        return await line.end()

    notice, code = asyncio.run(scenario())
    assert (notice["status"], code) == (closed - 4000, closed)
    assert "not.a.token" not in json.dumps(notice)


def test_a_first_message_must_come_soon(app, monkeypatch):
    monkeypatch.setattr(live_socket, "FIRST_MESSAGE_S", 0.2)

    async def scenario():
        line = Socket()
        await line.open(app)
        return await line.end()

    notice, closed = asyncio.run(scenario())
    assert (notice["code"], closed) == ("too_slow", 4408)


def test_sockets_that_say_nothing_are_bounded_by_address(app, monkeypatch):
    monkeypatch.setattr(live_socket, "STRANGERS_PER_ADDRESS", 2)

    async def scenario():
        lines = [Socket() for _ in range(3)]
        answers = []
        for line in lines:
            answers.append(await line.open(app))
            await asyncio.sleep(0.05)
        for line in lines[:2]:
            await line.leave()
        again = Socket()
        answers.append(await again.open(app))
        await again.leave()
        return answers

    assert asyncio.run(scenario()) == [None, None, 503, None]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 421),
        ({"origin": "http://localhost"}, None),
    ],
)
def test_pages_of_other_sites_open_no_socket(app, headers, status):
    async def scenario():
        line = Socket()
        found = await line.open(app, headers=headers)
        if found is None:
            await line.leave()
        return found

    assert asyncio.run(scenario()) == status


def test_a_stream_is_for_who_takes_it(app, manager, anonymous):
    async def scenario(headers):
        line = Stream()
        status, answered = await line.open(app, headers=headers)
        if status == 200:
            await line.leave()
        return status, answered

    status, headers = asyncio.run(scenario(manager.headers))
    assert (status, headers["content-type"], headers["cache-control"]) == (
        200,
        "text/event-stream; charset=utf-8",
        "no-store",
    )
    assert "content-length" not in headers
    assert "x-request-id" in headers
    assert asyncio.run(scenario(manager.headers | {"accept": "application/json"}))[0] == 406
    assert asyncio.run(scenario({}))[0] == 401
    assert asyncio.run(scenario({"authorization": "Bearer x"}))[0] == 401


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_a_key_that_is_revoked_hears_nothing_more(app, runtime, manager, component, kind):
    with runtime.database.transaction() as session:
        key = create_api_key(session, name=f"gone-{component}", project="default", scopes=["measurements:read"])

    def revoke():
        with runtime.database.transaction() as session:
            row = session.query(ApiKey).filter(ApiKey.name == f"gone-{component}").one()
            revoke_api_key(session, row.project_id, row.id)

    async def scenario():
        await post(manager, [measured(component, 1)])
        line = kind()
        if kind is Socket:
            await line.open(app)
            await line.say(token=key, subscribe={"max_rate_hz": 0.1})  # however slow its ticks are
        else:
            await line.open(app, headers={"x-api-key": key}, query="max_rate_hz=0.1")
        await line.until("measurements")
        await asyncio.to_thread(revoke)
        revoked_s = time.monotonic()
        notice = await line.until("notice")
        return notice, time.monotonic() - revoked_s, await line.next()

    notice, took_s, closed = asyncio.run(scenario())
    assert (notice["code"], notice["status"]) == ("api_key_refused", 401)
    assert took_s < 5.0  # a busy machine; the real server is held to its second
    assert closed == ({"type": "close", "code": 4401} if kind is Socket else {"type": "close"})


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_a_key_that_expires_hears_nothing_more(app, runtime, manager, component, kind):
    ends_at = datetime.now(UTC) + timedelta(seconds=2)
    with runtime.database.transaction() as session:
        key = create_api_key(
            session, name=f"brief-{component}", project="default", scopes=["measurements:read"], expires_at=ends_at
        )

    async def scenario():
        line = kind()
        if kind is Socket:
            await line.open(app)
            await line.say(token=key, subscribe={"max_rate_hz": 0.1})
        else:
            await line.open(app, headers={"x-api-key": key}, query="max_rate_hz=0.1")
        await line.until("welcome")
        notice = await line.until("notice")
        told_at = datetime.now(UTC)
        await post(manager, [measured(component, 1)])
        return notice, told_at, await line.next()

    notice, told_at, closed = asyncio.run(scenario())
    assert notice["code"] == "api_key_refused"
    assert timedelta(0) <= told_at - ends_at < timedelta(seconds=5)
    assert closed == ({"type": "close", "code": 4401} if kind is Socket else {"type": "close"})


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_an_access_token_that_expires_ends_its_readers(app, runtime, anonymous, kind, monkeypatch):
    monkeypatch.setattr(runtime.access, "_token_lifetime_s", 1)  # and five seconds for clocks that differ
    brief = signed_in(anonymous, "user")
    monkeypatch.undo()

    async def scenario():
        async with listening(app, brief, kind, max_rate_hz=0.1, snapshot=False) as line:
            return await line.until("notice")

    notice = asyncio.run(scenario())
    assert (notice["status"], notice["code"]) == (401, "token_refused")


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_a_device_that_moves_to_another_project_hears_nothing_more_of_the_old_one(
    app, runtime, manager, component, kind
):
    with runtime.database.transaction() as session:
        key = create_api_key(
            session, name=component, project="default", component=component, scopes=["measurements:read"]
        )
        elsewhere = create_project(session, f"moved-{component}").id

    def move():
        with runtime.database.transaction() as session:
            project_id = get_project(session, "default").id
            move_component(session, component, source_id=project_id, target_id=elsewhere)

    async def scenario():
        await post(manager, [measured(component, 1)])
        line = kind()
        if kind is Socket:
            await line.open(app)
            await line.say(token=key, subscribe=FAST)
        else:
            await line.open(app, headers={"x-api-key": key}, query="max_rate_hz=10")
        await line.until("measurements")
        await asyncio.to_thread(move)
        return await line.until("notice")

    assert asyncio.run(scenario())["code"] == "caller_changed"


def test_a_user_who_signs_out_hears_nothing_more_and_a_newer_token_goes_on(app, runtime, anonymous, component):
    with runtime.database.transaction() as session:
        create_user(session, name=component, password="a very long password", role="viewer", project="default")
    first, second = (signed_in(anonymous, component, password="a very long password") for _ in range(2))

    async def scenario():
        line = Socket()
        await line.open(app)
        await line.say(token=token_of(first), subscribe=FAST)
        await line.until("welcome")
        await line.say(token=token_of(second))
        await asyncio.sleep(0.6)
        assert (await asyncio.to_thread(first.post, "/v1/logout")).status_code < 300
        await asyncio.sleep(1.2)
        went_on = not line._serving.done()
        assert (await asyncio.to_thread(second.post, "/v1/logout")).status_code < 300
        _notice, closed = await line.end()
        return went_on, closed

    went_on, closed = asyncio.run(scenario())
    assert went_on
    assert closed == 4401


def test_a_token_of_somebody_else_ends_the_socket(app, user, manager):
    async def scenario():
        line = Socket()
        await line.open(app)
        await line.say(token=token_of(user), subscribe=FAST)
        await line.until("welcome")
        await line.say(token=token_of(manager))
        return await line.end()

    notice, closed = asyncio.run(scenario())
    assert (notice["code"], closed) == ("caller_changed", 4401)


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_a_reader_who_takes_nothing_is_told_and_let_go(app, runtime, manager, component, kind, monkeypatch):
    monkeypatch.setattr(live, "SEND_TIMEOUT_S", 0.3)
    dropped = runtime.readers.counts.dropped["too_slow"]

    async def scenario():
        await post(manager, [measured(component, 1)])
        line = kind()
        if kind is Socket:
            await line.open(app)
            await line.say(token=token_of(manager), subscribe=FAST | {"components": [component]})
        else:
            await line.open(app, headers=manager.headers, query=f"max_rate_hz=10&component={component}")
        await line.until("measurements")
        line.is_reading.clear()
        await post(manager, [measured(component, 2)])
        async with asyncio.timeout(5):
            await line._serving
        assert line.let_go == 1  # the connection will be cut
        return await line.until("notice"), await line.next()

    notice, closed = asyncio.run(scenario())
    assert (notice["code"], notice["status"]) == ("too_slow", 408)
    assert closed == ({"type": "close", "code": 4408} if kind is Socket else {"type": "close"})
    assert runtime.readers.counts.dropped["too_slow"] == dropped + 1


@pytest.mark.parametrize("kind", [Socket, Stream])
def test_a_server_that_stops_says_so(runtime, manager, kind):
    app, leaving = create_app(runtime), []
    app.state.is_leaving = lambda: bool(leaving)

    async def scenario():
        line = kind()
        if kind is Socket:
            await line.open(app)
            await line.say(token=token_of(manager), subscribe={"snapshot": False, "max_rate_hz": 0.1})
        else:
            await line.open(app, headers=manager.headers, query="snapshot=false&max_rate_hz=0.1")
        await line.until("welcome")
        leaving.append(True)
        begun_s = time.monotonic()
        notice = await line.until("notice")
        return notice, await line.next(), time.monotonic() - begun_s

    notice, closed, took_s = asyncio.run(scenario())
    assert notice["code"] == "server_stopping"
    assert took_s < 5.0  # however slow its ticks are
    assert closed == ({"type": "close", "code": 1012} if kind is Socket else {"type": "close"})


@pytest.mark.parametrize(
    ("bound", "answer"),
    [("_limit_per_caller", ("too_many_readers", 4429, 429)), ("_limit", ("overloaded", 1013, 503))],
)
def test_readers_are_bounded(app, runtime, manager, monkeypatch, bound, answer):
    monkeypatch.setattr(runtime.readers, bound, 1)

    async def scenario():
        async with listening(app, manager, snapshot=False):
            line = Socket()
            await line.open(app)
            await line.say(token=token_of(manager))
            notice, closed = await line.end()
            status, _headers = await Stream().open(app, headers=manager.headers)
            return notice["code"], closed, status

    assert asyncio.run(scenario()) == answer
    assert runtime.readers.counts.open.total() == 0
    assert runtime.lake.tail._listeners == 0


def test_a_member_has_as_many_readers_however_many_keys(app, runtime, manager, monkeypatch):
    monkeypatch.setattr(runtime.readers, "_limit_per_caller", 1)
    key = manager.post("/v1/me/keys", json={"name": "one more", "read_only": True}).json()["key"]

    async def scenario():
        async with listening(app, manager, snapshot=False):
            return (await Stream().open(app, headers={"x-api-key": key}))[0]

    assert asyncio.run(scenario()) == 429


def test_what_was_told_is_counted(app, runtime, anonymous, manager, component):
    def sample(name):
        lines = anonymous.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    async def scenario():
        async with listening(app, manager, components=[component], snapshot=False) as line:
            opened = await asyncio.to_thread(sample, 'gaugehouse_live_connections{transport="websocket"}')
            await post(manager, [measured(component, value) for value in range(5)])
            await line.until("measurements")
            return opened

    def counted():
        told = sample('gaugehouse_live_messages_total{type="measurements"}')
        return told, sample('gaugehouse_live_skipped_rows_total{table="measurements"}')

    asyncio.run(post(manager, [measured(component, 0)]))
    before = counted()
    assert asyncio.run(scenario()) == 1
    assert [after - so_far for so_far, after in zip(before, counted(), strict=True)] == [1, 4]
    assert sample("gaugehouse_live_connections") == 0
    assert sample('gaugehouse_live_dropped_total{reason="too_slow"}') > 0
