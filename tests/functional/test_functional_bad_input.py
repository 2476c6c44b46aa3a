"""What must not be stored is refused with row, field and reason, and leaves nothing behind."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import pyarrow as pa
import pytest

from functional.installation import assert_problem
from functional.rows import as_dicts, deliver, deliver_events, deliver_well, read_answer, read_back
from payloads import (
    ARROW,
    CSV,
    JSON,
    MEASUREMENTS,
    NDJSON,
    PARQUET,
    as_json_rows,
    to_table,
    write_arrow,
    write_csv,
    write_parquet,
)

START = datetime(2026, 6, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GOOD = {"component": "bad", "metric": "level", "measured_at": "2026-06-01T00:00:00Z", "value": 1.5}


def at(**offset):
    return (datetime.now(UTC) + timedelta(**offset)).isoformat().replace("+00:00", "Z")


def post(client, body, media_type=JSON, path="/v1/measurements", **params):
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body)
    return client.post(path, content=content, headers={"Content-Type": media_type}, params=params)


# name: (what is wrong, field that the refusal names)
BAD_CELLS = {
    "a boolean value": ({"value": True}, "value"),
    "a text value": ({"value": "12"}, "value"),
    "an object value": ({"value": {"v": 1}}, "value"),
    "a missing number": ({"value": None}, "value"),
    "an integer over 2^53": ({"value": 2**53 + 1}, "value"),
    "an integer under -2^53": ({"value": -(2**53) - 1}, "value"),
    "an integer of 30 digits": ({"value": 10**30}, "value"),
    "a naive time": ({"measured_at": "2026-06-01T00:00:00"}, "measured_at"),
    "no time": ({"measured_at": None}, "measured_at"),
    "a time that is none": ({"measured_at": "yesterday"}, "measured_at"),
    "a number for a time": ({"measured_at": 1_780_000_000}, "measured_at"),
    "a day that does not exist": ({"measured_at": "2026-02-30T00:00:00Z"}, "measured_at"),
    "a time before 1970": ({"measured_at": "1969-12-31T23:59:59Z"}, "measured_at"),
    "a time two days ahead": ({"measured_at": at(days=2)}, "measured_at"),
    "an unknown column": ({"colour": "red"}, "colour"),
    "an empty name": ({"component": ""}, "component"),
    "a name with a space before": ({"component": " bad"}, "component"),
    "a name with a control character": ({"metric": "le\x07vel"}, "metric"),
    "a name with half a surrogate pair": ({"component": "bad\ud800"}, "component"),
    "a name of 201 characters": ({"metric": "m" * 201}, "metric"),
    "a name that is not NFC": ({"component": "Fo\u0308rderband"}, "component"),
    "a number for a name": ({"component": 7}, "component"),
    "a quality of 3": ({"quality": 3}, "quality"),
    "a boolean quality": ({"quality": True}, "quality"),
}


@pytest.fixture(autouse=True)
def nothing_is_stored_of_bad(viewer):
    """Whatever a test sends of the component `bad`, nothing of it may be there afterwards, not even its name."""
    yield
    assert_problem(viewer.get("/v1/components/bad"), 404)
    assert_problem(viewer.get("/v1/measurements", params={"component": "bad"}), 404)


@pytest.mark.parametrize("name", BAD_CELLS)
def test_one_bad_json_row_refuses_all_and_names_row_field_and_reason(name, device):
    change, field = BAD_CELLS[name]
    rows = [GOOD | {"metric": f"m{i}"} for i in range(5)]
    rows[3] |= change
    for body, media_type in ((rows, JSON), ("\n".join(json.dumps(row) for row in rows), NDJSON)):
        problem = assert_problem(post(device, body, media_type), 422, "rows_refused")
        assert (problem["errors"][0]["row"], problem["errors"][0]["field"]) == (3, field), media_type
        assert problem["errors"][0]["reason"]
        assert problem["bad_rows"] == 1


@pytest.mark.parametrize("name", sorted(BAD_CELLS.keys() - {"an unknown column"}))
def test_one_bad_cell_refuses_json_columns(name, device):
    change, field = BAD_CELLS[name]
    rows = [GOOD | {"quality": 0} for _ in range(5)]
    rows[3] |= change
    columns = {column: [row[column] for row in rows] for column in rows[0]}
    problem = assert_problem(post(device, columns), 422, "rows_refused")
    assert (problem["errors"][0]["row"], problem["errors"][0]["field"]) == (3, field)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_refused(literal, device):
    body = json.dumps([GOOD, GOOD | {"metric": "m"}]).replace("1.5}]", f"{literal}}}]")
    answer = post(device, body)
    assert answer.status_code in {400, 422}, answer.text
    assert_problem(answer, answer.status_code)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
@pytest.mark.parametrize("media_type", [CSV, ARROW, PARQUET])
def test_numbers_that_are_not_finite_are_refused_in_every_other_format(media_type, value, device):
    rows = [("bad", "level", START + i * MINUTE, 1.0, 0) for i in range(4)]
    rows[2] = (*rows[2][:3], value, 0)
    table = to_table(as_dicts(rows), MEASUREMENTS)
    body = {
        CSV: lambda: write_csv(as_dicts(rows), MEASUREMENTS.names),
        ARROW: lambda: write_arrow(table),
        PARQUET: lambda: write_parquet(table),
    }[media_type]()
    problem = assert_problem(post(device, body, media_type), 422, "rows_refused")
    assert (problem["errors"][0]["row"], problem["errors"][0]["field"]) == (2, "value")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("measured_at", pa.array([START.replace(tzinfo=None)], pa.timestamp("us"))),
        ("measured_at", pa.array(["2026-06-01T00:00:00Z"])),
        ("value", pa.array([True])),
        ("value", pa.array(["1.5"])),
        ("component", pa.array([7])),
        ("colour", pa.array(["red"])),
    ],
)
def test_tables_of_other_types_or_columns_are_refused(name, change, device):
    table = to_table(as_dicts([("bad", "level", START, 1.0, 0)]), MEASUREMENTS)
    if name in table.column_names:
        table = table.set_column(table.column_names.index(name), name, change)
    else:
        table = table.append_column(name, change)
    for body, media_type in ((write_arrow(table), ARROW), (write_parquet(table), PARQUET)):
        problem = assert_problem(post(device, body, media_type), 422)
        assert name in problem["detail"]


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        ('[{"component": "bad"', JSON, 400),
        ("\xff\xfe".encode("latin-1"), JSON, 400),
        ("7", JSON, 400),
        (
            '[{"component":"bad","component":"bad","metric":"m","measured_at":"2026-06-01T00:00:00Z","value":1}]',
            JSON,
            422,
        ),
        ('{"component":["bad"],"metric":["m","m"],"measured_at":["2026-06-01T00:00:00Z"],"value":[1]}', JSON, 422),
        ("component,metric,measured_at\nbad,m,2026-06-01T00:00:00Z\n", CSV, 422),
        ("component,metric,measured_at,value,colour\nbad,m,2026-06-01T00:00:00Z,1,red\n", CSV, 422),
        ("component,metric,measured_at,value\nbad,m,2026-06-01T00:00:00,1\n", CSV, 422),
        ("component,metric,measured_at,value\nbad,m,2026-06-01T00:00:00Z,true\n", CSV, 422),
        (b"ARROW1 nonsense", ARROW, 400),
        (b"PAR1nonsensePAR1", PARQUET, 400),
    ],
)
def test_what_cannot_be_read_or_taken_is_refused(body, media_type, status, device):
    assert_problem(post(device, body, media_type), status)


@pytest.mark.parametrize("media_type", ["application/xml", "text/plain", "", "application/x-www-form-urlencoded"])
def test_content_types_that_are_not_read_are_refused(media_type, device):
    assert_problem(post(device, [GOOD], media_type), 415)


def test_content_encodings_that_are_not_read_are_refused(device):
    headers = {"Content-Type": JSON, "Content-Encoding": "br"}
    assert_problem(device.post("/v1/measurements", content=b"[]", headers=headers), 415)


def test_bodies_over_ten_mebibytes_are_refused_with_or_without_a_declared_length(house):
    def chunks():
        for _ in range(11):
            yield b" " * 2**20

    headers = {"Content-Type": JSON, "X-API-Key": house.key}
    for body in (b" " * (11 * 2**20), chunks()):
        answer = httpx.post(f"{house.url}/v1/measurements", content=body, headers=headers, trust_env=False)
        assert_problem(answer, 413)


def test_more_rows_than_one_delivery_may_hold_are_refused(device):
    rows = [GOOD | {"metric": f"m{i % 7}"} for i in range(20_001)]
    assert_problem(post(device, rows), 413)
    count = 100_001
    table = pa.table(
        {
            "component": pa.array(["bad"] * count),
            "metric": pa.array(["level"] * count),
            "measured_at": pa.array(range(count), pa.int64()).cast(MEASUREMENTS.field("measured_at").type),
            "value": pa.array([0.5] * count),
        }
    )
    assert_problem(post(device, write_parquet(table), PARQUET), 413)
    assert_problem(post(device, write_arrow(table, compression="zstd"), ARROW), 413)


def test_more_than_twenty_bad_rows_name_the_first_twenty(device):
    rows = [GOOD | {"value": "text"} if i % 2 else GOOD for i in range(100)]
    problem = assert_problem(post(device, rows), 422)
    assert [error["row"] for error in problem["errors"]] == list(range(1, 41, 2))
    assert problem["bad_rows"] == 50


@pytest.mark.parametrize("media_type", [JSON, NDJSON, CSV, ARROW])
def test_partial_stores_the_good_rows_and_lists_the_bad(media_type, device, viewer):
    component = f"partial {media_type}"
    rows = [(component, "level", START + i * MINUTE, float("nan") if i in {3, 7} else float(i), 0) for i in range(10)]
    if media_type == ARROW:
        body = write_arrow(to_table(as_dicts(rows), MEASUREMENTS))
    elif media_type == CSV:
        body = write_csv(as_dicts(rows), MEASUREMENTS.names)
    else:
        dicts = [
            row | {"value": "NaN"} if row["value"] != row["value"] else row for row in as_json_rows(as_dicts(rows))
        ]
        body = json.dumps(dicts) if media_type == JSON else "\n".join(map(json.dumps, dicts))
    answer = post(device, body, media_type, partial="true")
    assert answer.status_code == 201, answer.text
    receipt = answer.json()
    assert (receipt["accepted"], receipt["rejected"]) == (8, 2)
    assert [(problem["row"], problem["field"]) for problem in receipt["problems"]] == [(3, "value"), (7, "value")]
    assert read_back(viewer, component) == [row for i, row in enumerate(rows) if i not in {3, 7}]


def test_a_partial_delivery_without_a_good_row_stores_nothing(device):
    answer = post(device, [GOOD | {"value": True}], partial="true")
    assert answer.status_code == 201
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (0, 1)


GOOD_EVENT = {"component": "bad", "kind": "alarm", "occurred_at": "2026-06-01T00:00:00Z", "body": {"code": 7}}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"occurred_at": "2026-06-01T00:00:00"}, "occurred_at"),
        ({"occurred_at": at(days=3)}, "occurred_at"),
        ({"kind": ""}, "kind"),
        ({"colour": 1}, "colour"),
        ({"body": "x" * 70_000}, "body"),
        ({"body": [[[[[[[[[1]]]]]]]]]}, "body"),
    ],
)
def test_bad_events_are_refused_by_the_same_rules(change, field, manager):
    problem = assert_problem(post(manager, [GOOD_EVENT, GOOD_EVENT | change], path="/v1/events"), 422)
    assert (problem["errors"][0]["row"], problem["errors"][0]["field"]) == (1, field)


@pytest.mark.parametrize("field", GOOD_EVENT)
def test_an_event_without_one_of_its_fields_is_refused(field, manager):
    event = {name: cell for name, cell in GOOD_EVENT.items() if name != field}
    problem = assert_problem(post(manager, [event], path="/v1/events"), 422)
    assert (problem["errors"][0]["row"], problem["errors"][0]["field"]) == (0, field)


def test_conflicts_are_counted_named_and_kept_as_events_and_the_first_value_stands(device, viewer, manager):
    rows = [("conflicting", "level", START + i * MINUTE, float(i), 0) for i in range(50)]
    deliver_well(device, rows)
    others = [(*row[:3], row[3] + 0.5, i % 2) if i >= 10 else row for i, row in enumerate(rows)]
    receipt = deliver_well(device, others)
    assert (receipt["accepted"], receipt["duplicates"], receipt["conflicts"]) == (0, 10, 40)
    assert len(receipt["conflict_rows"]) == 20
    named = receipt["conflict_rows"][0]
    assert (named["component"], named["metric"]) == ("conflicting", "level")
    assert datetime.fromisoformat(named["measured_at"]) == rows[10][2]
    assert (named["stored_value"], named["refused_value"]) == (10.0, 10.5)
    assert read_back(viewer, "conflicting") == rows
    asked = {"component": "conflicting", "kind": "conflict", "limit": 1000}
    events = read_answer(manager.get("/v1/events", params=asked))
    assert len(events) == 40
    for event, row in zip(events, others[10:], strict=True):
        assert event["occurred_at"] == row[2]
        assert event["body"]["metric"] == "level"
        assert (event["body"]["stored_value"], event["body"]["refused_value"]) == (row[3] - 0.5, row[3])
        assert (event["body"]["stored_quality"], event["body"]["refused_quality"]) == (0, row[4])
    deliver_well(device, others)
    assert len(read_answer(manager.get("/v1/events", params=asked))) == 40


def test_a_key_twice_in_one_delivery_is_a_duplicate_or_a_conflict_with_the_first(device, viewer):
    row = ("twice", "level", START, 1.0, 0)
    receipt = deliver_well(device, [row, row, ("twice", "level", START, 2.0, 0)])
    assert (receipt["accepted"], receipt["duplicates"], receipt["conflicts"]) == (1, 1, 1)
    assert read_back(viewer, "twice") == [row]


def test_an_empty_delivery_is_nothing(device):
    for answer in (post(device, []), deliver(device, [], "parquet")):
        assert answer.status_code == 201, answer.text
        assert answer.json()["accepted"] == 0


def test_questions_that_cannot_be_right_are_refused(viewer, device, manager):
    deliver_well(device, [("asked", "level", START, 1.0, 0)])
    asked = {"component": "asked"}
    for params, status in [
        ({"start": "2026-06-01T00:00:00"}, 422),
        ({"every": "fortnight"}, 422),
        ({"every": "1h", "aggregate": "mode"}, 422),
        ({"aggregate": "mean"}, 422),
        ({"limit": 0}, 422),
        ({"limit": 10_000_000}, 422),
        ({"cursor": "nonsense"}, 422),
        ({"colour": "red"}, 422),
        ({"every": "day", "timezone": "Mars/Olympus"}, 422),
        ({"component": "nobody at all"}, 404),
    ]:
        assert_problem(viewer.get("/v1/measurements", params=asked | params), status)
    assert_problem(viewer.get("/v1/measurements", params=asked, headers={"Accept": "application/xml"}), 406)
    assert_problem(viewer.get("/v1/nothing"), 404)
    assert_problem(viewer.delete("/v1/measurements"), 405)
    assert_problem(manager.post("/v1/reports", content=b"{", headers={"Content-Type": JSON}), 400)
    assert_problem(manager.post("/v1/reports", json={"period": "2026-05", "colour": 1}), 422)


def test_an_event_that_says_the_same_again_is_a_duplicate_and_one_that_differs_is_another(manager):
    moment = ("told", "alarm", START)
    counts = []
    for body in ({"a": 1, "b": 2.0}, {"b": 2.0, "a": 1}, {"a": 1, "b": 3}):
        answer = deliver_events(manager, [(*moment, body)]).json()
        counts.append((answer["accepted"], answer["duplicates"]))
    assert counts == [(1, 0), (0, 1), (1, 0)]
