"""The short way for small deliveries answers as the general way does, and a repeated request as the first time."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from gaugehouse.errors import Overloaded, StorageFull, Unavailable
from gaugehouse.ingest import decode
from gaugehouse.web import standings

DAY = "2026-11-19"
JSON = {"Content-Type": "application/json"}


def row(component, second, value=1.0, **more):
    return {
        "component": component,
        "metric": "level",
        "measured_at": f"{DAY}T10:00:{second:02}Z",
        "value": value,
        **more,
    }


@pytest.fixture(scope="module")
def device(make_key):
    return make_key()


def send(client, rows, **headers):
    return client.post("/v1/measurements", content=json.dumps(rows), headers=JSON | headers)


def counts(answer):
    assert answer.status_code == 201, answer.text
    return {name: answer.json()[name] for name in ("accepted", "duplicates", "late", "conflicts")}


def test_a_known_series_takes_the_short_way(device, monkeypatch):
    send(device, [row("short", 1)])
    monkeypatch.setitem(decode._MEASUREMENT_READERS, decode.Format.JSON, None)
    assert counts(send(device, [row("short", 3)])) == {"accepted": 1, "duplicates": 0, "late": 0, "conflicts": 0}
    assert counts(send(device, [row("short", 2)])) == {"accepted": 1, "duplicates": 0, "late": 1, "conflicts": 0}
    assert counts(send(device, [row("short", 2)])) == {"accepted": 0, "duplicates": 1, "late": 0, "conflicts": 0}


def many_rows(component, value=1.0):
    return [row(component, n % 60, value) | {"metric": f"m{n // 60}"} for n in range(400)]


def test_hundreds_of_rows_take_the_short_way_too_and_all_are_counted(device, runtime, monkeypatch):
    assert counts(send(device, many_rows("gateway")))["accepted"] == 400
    with monkeypatch.context() as patch:
        patch.setattr(runtime.registry, "find_unknown", None)  # the general way asks it
        assert counts(send(device, [*many_rows("gateway"), row("gateway", 1)]))["duplicates"] == 400
        contrary = send(device, many_rows("gateway", 2.0))
        assert counts(contrary)["conflicts"] == 400
        assert len(contrary.json()["conflict_rows"]) == 20
    bad = [*many_rows("gateway"), row("gateway", 5, float("nan"))]
    assert send(device, bad).json()["errors"][0]["row"] == 400
    assert counts(send(device, many_rows("newcomer")))["accepted"] == 400


def test_a_key_of_one_component_is_held_to_it_with_hundreds_of_rows(make_key):
    own = make_key(component="gateway")
    send(own, many_rows("gateway"))
    assert counts(send(own, many_rows("gateway")))["duplicates"] == 400
    assert send(own, many_rows("foreign")).json()["code"] == "other_component"


def test_a_body_that_finds_no_room_beside_others_is_told_to_come_again(app, device):
    send(device, many_rows("gateway"))
    memory = app.state.threads.small_bodies
    with memory.admitted() as admit:
        admit(memory._limit_bytes)
        answer = send(device, many_rows("gateway"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert counts(send(device, many_rows("gateway")))["duplicates"] == 400


def test_both_ways_answer_in_the_same_words(device):
    send(device, [row("same", 1)])
    short = send(device, [row("same", 1, 2.0), row("same", 0)])
    general = device.post(
        "/v1/measurements?partial=false", content=json.dumps([row("same", 1, 2.0), row("same", 0)]), headers=JSON
    )
    assert counts(short) == {"accepted": 1, "duplicates": 0, "late": 1, "conflicts": 1}
    assert counts(general) == {"accepted": 0, "duplicates": 1, "late": 0, "conflicts": 1}
    assert short.json()["conflict_rows"] == general.json()["conflict_rows"]
    assert list(short.json()) == list(general.json())
    differing = {"date", "x-request-id", "content-length"}
    assert {k: v for k, v in short.headers.items() if k not in differing} == {
        k: v for k, v in general.headers.items() if k not in differing
    }


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b"[]",
        b"{}",
        b'[{"component":"same"}]',
        json.dumps([row("same", 5, float("nan"))]).encode(),
        json.dumps([row("same", 5, unit="K")]).encode(),
        json.dumps([row("same ", 5)]).encode(),
        b"\xff",
    ],
)
def test_bad_rows_are_refused_in_the_same_words(device, body):
    send(device, [row("same", 1)])
    short = device.post("/v1/measurements", content=body, headers=JSON)
    general = device.post("/v1/measurements?partial=false", content=body, headers=JSON)
    told = [
        {k: v for k, v in answer.json().items() if k not in {"request_id", "instance", "received_at"}}
        for answer in (short, general)
    ]
    assert short.status_code == general.status_code
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("error", "status"),
    [(Overloaded("too much waits", retry_after_s=5), 503), (StorageFull("nearly full", retry_after_s=30), 507)],
)
def test_a_lake_that_takes_nothing_says_so_the_short_way_too(device, runtime, monkeypatch, error, status):
    send(device, [row("full", 1)])

    def refuse():
        raise error

    monkeypatch.setattr(runtime.lake._sequencer, "refuse_when_unfit", refuse)
    answer = send(device, [row("full", status % 60)])
    assert answer.status_code == status
    assert answer.headers["retry-after"] == str(error.retry_after_s)
    assert answer.headers["content-type"] == "application/problem+json"
    monkeypatch.undo()
    assert counts(send(device, [row("full", status % 60)]))["accepted"] == 1


def test_a_key_writes_its_own_component_only_and_only_with_the_scope(make_key):
    own = make_key(component="own")
    assert counts(send(own, [row("own", 1)]))["accepted"] == 1
    assert counts(send(own, [row("own", 2)]))["accepted"] == 1
    assert send(own, [row("foreign", 2)]).json()["code"] == "other_component"
    assert send(make_key(scopes=["events:write"]), [row("own", 3)]).status_code == 403


def test_wrong_and_double_credentials_are_refused_as_ever(anonymous, device, manager):
    assert send(anonymous, [row("own", 1)]).status_code == 401
    assert send(anonymous, [row("own", 1)], **{"X-API-Key": "ghk_nonsense"}).status_code == 401
    token = manager.headers["Authorization"]
    assert send(device, [row("own", 1)], Authorization=token).json()["code"] == "two_credentials"
    for _ in "ab":  # the second time the key is known, and would go the short way
        assert send(device, [row("own", 1)]).status_code == 201
        assert send(device, [row("own", 1)], api_key="ghk_nonsense").json()["code"] == "two_credentials"


def test_a_revoked_key_is_out_after_a_second(make_key, runtime, monkeypatch):
    device = make_key()
    send(device, [row("revoked", 1)])
    assert counts(send(device, [row("revoked", 2)]))["accepted"] == 1
    later_s = standings.monotonic() + standings.STANDING_AGE_S
    monkeypatch.setattr(standings, "monotonic", lambda: later_s)
    monkeypatch.setattr(runtime.access, "_load_keys", dict.fromkeys)
    monkeypatch.setattr(runtime.access._keys, "_answers", {})
    assert send(device, [row("revoked", 3)]).status_code == 401


def test_keys_that_come_together_are_asked_for_together(app, make_key, runtime, monkeypatch):
    names = [f"together-{number}" for number in range(20)]
    keys = [make_key(component=name).headers["X-API-Key"] for name in names]
    send(make_key(), [row(name, 1) for name in names])
    questions, ask = [], runtime.access.callers_of_keys
    monkeypatch.setattr(runtime.access, "callers_of_keys", lambda asked: questions.append(len(asked)) or ask(asked))
    bad = "ghk_" + "0" * 36

    async def all_at_once():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=JSON) as client:
            sent = [
                client.post(
                    "/v1/measurements", content=json.dumps([row(name, second)]), headers={"X-API-Key": keys[at]}
                )
                for second in (2, 3)
                for at, name in enumerate(names)
            ]
            wrong = client.post("/v1/measurements", content=json.dumps([row("x", 2)]), headers={"X-API-Key": bad})
            other = client.post(
                "/v1/measurements", content=json.dumps([row(names[1], 4)]), headers={"X-API-Key": keys[0]}
            )
            return await asyncio.gather(*sent, wrong, other)

    *good, wrong, other = asyncio.run(all_at_once())
    assert [counts(answer)["accepted"] for answer in good] == [1] * 40
    assert (wrong.status_code, other.status_code) == (401, 403)
    assert sum(questions) == len(keys) + 1  # each once, though it came twice
    assert len(questions) < len(keys) / 2


def test_a_question_about_keys_that_fails_holds_nobody_up(app, make_key, runtime, monkeypatch):
    device = make_key()
    send(device, [row("asked", 1)])
    later_s = standings.monotonic() + standings.STANDING_AGE_S
    monkeypatch.setattr(standings, "monotonic", lambda: later_s)

    def fail(_keys):
        raise Unavailable("the database is away")

    monkeypatch.setattr(runtime.access, "callers_of_keys", fail)
    assert counts(send(device, [row("asked", 2)]))["accepted"] == 1  # the general way asks for itself


def test_who_cannot_be_asked_about_any_more_is_not_taken_for_who_they_were(make_key, runtime, monkeypatch):
    device = make_key()
    send(device, [row("gone", 1)])
    assert counts(send(device, [row("gone", 2)]))["accepted"] == 1
    later_s = standings.monotonic() + standings.STANDING_AGE_S
    monkeypatch.setattr(standings, "monotonic", lambda: later_s)

    def crash(_keys):
        raise RuntimeError  # nothing that the database's errors are translated into

    monkeypatch.setattr(runtime.access, "callers_of_keys", crash)
    monkeypatch.setattr(runtime.access, "_load_keys", dict.fromkeys)  # it was revoked meanwhile
    monkeypatch.setattr(runtime.access._keys, "_answers", {})
    assert send(device, [row("gone", 3)]).status_code == 401


def test_many_at_once_each_get_their_own_receipt(app, make_key):
    device = make_key()
    send(device, [row("many", 0)])

    async def all_at_once():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=device.headers | JSON
        ) as client:
            sent = [client.post("/v1/measurements", content=json.dumps([row("many", n % 50)])) for n in range(200)]
            return await asyncio.gather(*sent)

    answers = asyncio.run(all_at_once())
    assert {answer.status_code for answer in answers} == {201}
    assert sum(answer.json()["accepted"] for answer in answers) == 49
    assert sum(answer.json()["duplicates"] for answer in answers) == 151


# --- Idempotency-Key


def keyed(client, rows, key, path="/v1/measurements"):
    return client.post(path, content=json.dumps(rows), headers=JSON | {"Idempotency-Key": key})


def test_a_repeated_request_gets_the_first_answer_again(device):
    first = keyed(device, [row("keyed", 1), row("keyed", 1)], "delivery-1")
    assert counts(first) == {"accepted": 1, "duplicates": 1, "late": 0, "conflicts": 0}
    assert "idempotency-replayed" not in first.headers
    again = keyed(device, [row("keyed", 1), row("keyed", 1)], "delivery-1")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert counts(keyed(device, [row("keyed", 1), row("keyed", 1)], "delivery-2"))["duplicates"] == 2


def test_another_body_under_the_same_key_is_refused(device):
    keyed(device, [row("keyed", 2)], "delivery-3")
    refused = keyed(device, [row("keyed", 3)], "delivery-3")
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")


def test_the_same_body_to_be_taken_in_another_way_is_refused_under_the_same_key(device):
    rows = [row("keyed", 9) | {"measured_at": 1_600_000_000_000}]
    taken = ["?time_unit=ms", "?time_unit=us", "?time_unit=ms&partial=true", "?partial=true", ""]
    answers = [keyed(device, rows, "delivery-9", f"/v1/measurements{wishes}") for wishes in taken]
    assert counts(answers[0])["accepted"] == 1
    refused = [(answer.status_code, answer.json()["code"]) for answer in answers[1:]]
    assert refused == [(422, "idempotency_key_reused")] * 4
    again = keyed(device, rows, "delivery-9", "/v1/measurements?partial=false&time_unit=ms")
    assert (again.content, again.headers["idempotency-replayed"]) == (answers[0].content, "true")


def test_a_key_counts_per_route(device):
    event = {"component": "keyed", "kind": "alarm", "occurred_at": f"{DAY}T10:00:00Z", "body": 1}
    assert keyed(device, [row("keyed", 4)], "delivery-4").status_code == 201
    assert keyed(device, [event], "delivery-4", "/v1/events").json()["accepted"] == 1
    assert keyed(device, [event], "delivery-4", "/v1/events").headers["idempotency-replayed"] == "true"


def test_devices_neither_use_up_nor_learn_what_others_get_under_the_same_key(make_key):
    names = ["first keyed", "second keyed"]
    first, second = (make_key(component=name) for name in names)
    assert counts(keyed(first, [row(names[0], 1)], "delivery-0001"))["accepted"] == 1
    assert keyed(second, [row(names[0], 1)], "delivery-0001").status_code == 403  # the same bytes: not its receipt
    assert counts(keyed(second, [row(names[1], 1)], "delivery-0001"))["accepted"] == 1
    assert keyed(first, [row(names[0], 1)], "delivery-0001").headers["idempotency-replayed"] == "true"


def test_a_refused_request_keeps_no_answer_and_its_key_may_come_again(device):
    assert keyed(device, [row("keyed", 5, None)], "delivery-5").status_code == 422
    assert counts(keyed(device, [row("keyed", 5)], "delivery-5"))["accepted"] == 1


def test_a_partial_delivery_names_its_bad_rows_again(device):
    rows = [row("keyed", 6), row("keyed", 7, None)]
    first = keyed(device, rows, "delivery-6", "/v1/measurements?partial=true")
    assert first.json()["rejected"] == 1
    assert keyed(device, rows, "delivery-6", "/v1/measurements?partial=true").content == first.content
    none = keyed(device, rows[1:], "delivery-7", "/v1/measurements?partial=true")
    assert (none.json()["received_at"], none.json()["rejected"]) == (None, 1)
    assert keyed(device, rows[1:], "delivery-7", "/v1/measurements?partial=true").headers["idempotency-replayed"]


def test_a_request_whose_first_is_still_running_is_told_to_wait(device, runtime, monkeypatch):
    begun, release = threading.Event(), threading.Event()
    append = runtime.lake.append

    def slow(*args):
        begun.set()
        release.wait(30)
        return append(*args)

    monkeypatch.setattr(type(runtime.lake), "append", lambda _lake, *args: slow(*args))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(keyed, device, [row("keyed", 8)], "delivery-8")
        assert begun.wait(30)
        second = keyed(device, [row("keyed", 8)], "delivery-8")
        release.set()
        assert first.result().status_code == 201
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_key_running")
    assert keyed(device, [row("keyed", 8)], "delivery-8").headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("key", ["short", "x" * 256, "umlaut-ä-key", "tab\tinside-key"])
def test_what_is_no_key_is_refused(device, key):
    answer = device.post("/v1/measurements", content=b"[]", headers=JSON | {"Idempotency-Key": key.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_unreadable")


def test_a_body_that_does_not_come_is_refused_as_ever(app, make_key, monkeypatch):
    device = make_key()
    send(device, [row("slow", 1)])
    told = []

    async def receive():
        await asyncio.sleep(3600)

    async def note(message):
        told.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/measurements",
        "raw_path": b"/v1/measurements",
        "query_string": b"",
        "scheme": "http",
        "headers": [
            (b"host", b"localhost"),
            (b"x-api-key", device.headers["X-API-Key"].encode()),
            (b"content-type", b"application/json"),
            (b"content-length", b"100"),
        ],
    }
    monkeypatch.setattr("gaugehouse.web.body.GRACE_S", 0.05)
    asyncio.run(app(scope, receive, note))
    assert told[0]["status"] == 408
