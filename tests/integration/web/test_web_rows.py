"""Rows go in in every format, and come out in every format, the same."""

import io
import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gaugehouse.web.negotiate import MEDIA_TYPES, Format

ROWS = [
    {
        "component": f"press {number % 3}",
        "metric": metric,
        "measured_at": f"2026-11-20T10:{number // 60:02}:{number % 60:02}{'.250000' if number % 2 else ''}Z",
        "value": None if number == 7 else round(number * 0.1, 3),
        "quality": 2 if number == 7 else 0,
    }
    for number in range(600)
    for metric in ("force", "speed")
]
ROWS.sort(key=lambda row: (row["component"], row["metric"], row["measured_at"].rstrip("Z")))


def table(rows):
    frame = pl.DataFrame(rows).with_columns(
        pl.col("measured_at").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC"),
        pl.col("quality").cast(pl.UInt8),
    )
    return frame.to_arrow()


def written(rows, answer_format):
    match answer_format:
        case Format.JSON:
            return json.dumps(rows).encode()
        case Format.NDJSON:
            return b"\n".join(json.dumps(row).encode() for row in rows)
        case Format.CSV:
            return pl.DataFrame(rows).write_csv().encode()
        case Format.ARROW:
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, table(rows).schema) as writer:
                writer.write_table(table(rows))
            return sink.getvalue()
        case Format.PARQUET:
            sink = io.BytesIO()
            pq.write_table(table(rows), sink)
            return sink.getvalue()


def read(content, answer_format):
    match answer_format:
        case Format.JSON:
            rows = json.loads(content)["items"]
        case Format.NDJSON:
            rows = [json.loads(line) for line in content.splitlines()]
        case Format.CSV:
            rows = pl.read_csv(content).to_dicts()
        case Format.ARROW | Format.PARQUET:
            arrow = answer_format is Format.ARROW
            rows = (pa.ipc.open_stream(content).read_all() if arrow else pq.read_table(io.BytesIO(content))).to_pylist()
            for row in rows:
                row["measured_at"] = row["measured_at"].isoformat().replace("+00:00", "Z")
    return [{name: value for name, value in row.items() if name != "received_at"} for row in rows]


@pytest.fixture(scope="module")
def delivered(manager):
    for start in range(0, len(ROWS), 300):
        answer = manager.post("/v1/measurements", json=ROWS[start : start + 300])
        assert answer.status_code == 201, answer.text
    return manager


@pytest.mark.parametrize("answer_format", list(Format))
def test_a_delivery_in_each_format_is_stored_once(delivered, make_key, answer_format):
    key = make_key()
    content_type = {"Content-Type": MEDIA_TYPES[answer_format]}
    rows = [row | {"component": f"lathe {answer_format}"} for row in ROWS[:400]]
    receipt = key.post("/v1/measurements", content=written(rows, answer_format), headers=content_type)
    assert receipt.status_code == 201, receipt.text
    assert {name: receipt.json()[name] for name in ("accepted", "duplicates", "conflicts")} == {
        "accepted": 400,
        "duplicates": 0,
        "conflicts": 0,
    }
    assert receipt.json()["received_at"].endswith("Z")
    again = key.post("/v1/measurements", content=written(rows, answer_format), headers=content_type).json()
    assert (again["accepted"], again["duplicates"]) == (0, 400)
    stored = key.get(f"/v1/components/lathe {answer_format}/measurements", params={"limit": 500}).json()["items"]
    assert [{k: v for k, v in row.items() if k != "received_at"} for row in stored] == rows


@pytest.mark.parametrize("answer_format", list(Format))
def test_rows_come_back_in_each_format_by_accept_and_by_query_field(delivered, user, answer_format):
    fields = {"component": "press 0,press 1", "metric": "force"} | (
        {"limit": 500} if answer_format is Format.JSON else {}
    )
    expected = [row for row in ROWS if row["component"] != "press 2" and row["metric"] == "force"]
    by_accept = user.get("/v1/measurements", params=fields, headers={"Accept": MEDIA_TYPES[answer_format]})
    assert by_accept.status_code == 200, by_accept.text
    assert by_accept.headers["content-type"] == MEDIA_TYPES[answer_format]
    assert read(by_accept.content, answer_format) == expected
    by_field = user.get("/v1/measurements", params=fields | {"format": answer_format.value})
    assert read(by_field.content, answer_format) == expected


def test_pages_hold_every_row_once_and_show_one_moment(delivered, user, manager):
    seen, cursor, as_ofs = [], None, set()
    while True:
        fields = {"component": "press 0", "limit": 70} | ({"cursor": cursor} if cursor else {})
        page = user.get("/v1/measurements", params=fields).json()
        seen += page["items"]
        as_ofs.add(page["as_of"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
        late = {"component": "press 0", "metric": "speed", "measured_at": f"2026-11-19T00:00:{len(seen) % 60:02}Z"}
        assert manager.post("/v1/measurements", json=[late | {"value": 1}]).status_code == 201
    rows = [{k: v for k, v in row.items() if k != "received_at"} for row in seen]
    assert rows == [row for row in ROWS if row["component"] == "press 0"]
    assert len(as_ofs) == 1


def test_a_limited_stream_links_to_the_next_page(delivered, user):
    fields = {"component": "press 1", "metric": "force", "limit": 150, "format": "ndjson"}
    first = user.get("/v1/measurements", params=fields)
    link = first.headers["link"]
    assert link.endswith('>; rel="next"')
    second = user.get(link[1 : link.index(">")])
    assert "link" not in second.headers
    rows = [*read(first.content, Format.NDJSON), *read(second.content, Format.NDJSON)]
    assert rows == [row for row in ROWS if row["component"] == "press 1" and row["metric"] == "force"]


def test_start_is_inclusive_end_is_exclusive_and_zones_count(delivered, user):
    def instants(**fields):
        answer = user.get("/v1/components/press 0/measurements", params={"metric": "force"} | fields)
        assert answer.status_code == 200, answer.text
        return [row["measured_at"] for row in answer.json()["items"]]

    expected = ["2026-11-20T10:00:00Z", "2026-11-20T10:00:03.250000Z"]
    assert instants(start="2026-11-20T10:00:00Z", end="2026-11-20T10:00:06Z") == expected
    assert instants(start="2026-11-20T11:00:00+01:00", end="2026-11-20T11:00:06+01:00") == expected
    assert instants(start="2026-11-20T11:00", end="2026-11-20T11:00:06", timezone="Europe/Berlin") == expected


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"start": "2026-11-20T10:00:00"}, 422),
        ({"start": "yesterday-ish"}, 422),
        ({"start": "2026-11-20T10:00:00", "timezone": "Mars/Olympus"}, 422),
        ({"every": "day", "timezone": "Mars/Olympus"}, 422),
        ({"limit": 0}, 422),
        ({"limit": 501}, 422),
        ({"limit": "ten"}, 422),
        ({"limit": 2**63 - 1, "format": "csv"}, 422),
        ({"limit": 10**20, "format": "parquet"}, 422),
        ({"every": "day", "timezone": ""}, 422),
        ({"cursor": "nonsense"}, 422),
        ({"every": "1h", "points": 5}, 422),
        ({"every": "sometimes"}, 422),
        ({"aggregate": "mean"}, 422),
        ({"every": "1h", "aggregate": "median"}, 422),
        ({"points": 0}, 422),
        ({"format": "xml"}, 422),
        ({"label": "no colon"}, 422),
        ({"component": "nobody"}, 404),
        ({"component": "nul\0"}, 404),
        ({"metrics": "typo"}, 422),
        ([("limit", "5"), ("limit", "6")], 422),
    ],
)
def test_a_question_that_cannot_be_understood_is_refused(delivered, user, fields, code):
    answer = user.get("/v1/measurements", params=fields)
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_form_that_is_not_written_is_a_406(user):
    assert user.get("/v1/measurements", headers={"Accept": "text/html"}).status_code == 406


def test_buckets_add_up(delivered, user):
    fields = {"component": "press 0", "metric": "force", "every": "1m", "aggregate": "count,sum,min,max"}
    fields |= {"start": "2026-11-20T10:00:00Z", "end": "2026-11-20T10:10:00Z"}
    answer = user.get("/v1/measurements", params=fields)
    assert answer.status_code == 200, answer.text
    buckets = answer.json()["items"]
    assert len(buckets) == 10
    values = [row["value"] for row in ROWS if row["component"] == "press 0" and row["metric"] == "force"]
    assert sum(bucket["count"] for bucket in buckets) == len([value for value in values if value is not None])
    assert sum(bucket["sum"] for bucket in buckets) == pytest.approx(sum(value or 0 for value in values))
    assert buckets[0]["bucket_start"] == "2026-11-20T10:00:00Z"
    as_csv = user.get("/v1/measurements", params=fields | {"format": "csv"})
    assert pl.read_csv(as_csv.content)["count"].sum() == sum(bucket["count"] for bucket in buckets)


def test_points_choose_a_resolution(delivered, user):
    answer = user.get("/v1/components/press 0/measurements", params={"metric": "force", "points": 20}).json()
    assert answer["every"]
    assert 0 < len(answer["items"]) <= 20


def test_a_bucket_written_with_spaces_round_it_is_named_without_them(delivered, user):
    answer = user.get("/v1/components/press 0/measurements", params={"every": "\u3000 1h\n", "format": "csv"})
    assert answer.status_code == 200
    assert answer.headers["x-every"] == "1h"


def test_more_buckets_than_a_page_holds_are_refused_as_json_and_streamed_otherwise(delivered, user):
    fields = {"every": "1s", "component": "press 0,press 1,press 2"}
    refused = user.get("/v1/measurements", params=fields)
    assert refused.status_code == 422
    assert refused.json()["code"] == "too_many_rows"
    assert len(user.get("/v1/measurements", params=fields | {"format": "ndjson"}).content.splitlines()) > 500


def test_the_newest_rows_and_the_summary_agree_with_the_rows(delivered, user):
    force = [row for row in ROWS if row["component"] == "press 2" and row["metric"] == "force"]
    (newest,) = user.get("/v1/components/press 2/latest", params={"metric": "force"}).json()["items"]
    assert (newest["measured_at"], newest["value"]) == (force[-1]["measured_at"], force[-1]["value"])
    (summary,) = user.get("/v1/components/press 2/summary", params={"metric": "force"}).json()["items"]
    assert summary["n"] == len(force)
    assert summary["last_measured_at"] == force[-1]["measured_at"]
    assert {row["metric"] for row in user.get("/v1/latest?component=press 2").json()["items"]} == {"force", "speed"}


def test_a_conflict_is_named_and_kept_as_an_event(manager, user):
    row = {"component": "mill", "metric": "torque", "measured_at": "2026-11-20T10:00:00Z", "value": 5}
    assert manager.post("/v1/measurements", json=[row]).json()["accepted"] == 1
    receipt = manager.post("/v1/measurements", json=[row | {"value": 6}]).json()
    assert (receipt["accepted"], receipt["conflicts"]) == (0, 1)
    assert receipt["conflict_rows"][0]["refused_value"] == 6
    assert receipt["conflict_rows"][0]["measured_at"] == "2026-11-20T10:00:00Z"
    (event,) = user.get("/v1/components/mill/events").json()["items"]
    assert event["kind"] == "conflict"
    assert event["body"]["stored_value"] == 5


def test_events_are_stored_once_and_read_back(manager, user):
    event = {"component": "mill 2", "kind": "alarm", "occurred_at": "2026-11-20T10:00:00Z", "body": {"code": [7, "é"]}}
    assert manager.post("/v1/events", json=[event]).json()["accepted"] == 1
    assert manager.post("/v1/events", json=[event]).json()["duplicates"] == 1
    (stored,) = user.get("/v1/events", params={"component": "mill 2", "kind": "alarm"}).json()["items"]
    assert {name: stored[name] for name in event} == event
    line = user.get("/v1/components/mill 2/events", headers={"Accept": "application/x-ndjson"}).json()
    assert line["body"] == {"code": [7, "é"]}


def test_a_bad_row_refuses_the_delivery_unless_partial(manager, user):
    good = {"component": "saw", "metric": "rpm", "measured_at": "2026-11-20T10:00:00Z", "value": 5}
    bad = good | {"measured_at": "2026-11-20T10:00:01", "value": 1}
    refused = manager.post("/v1/measurements", json=[good, bad])
    assert refused.status_code == 422
    assert refused.json()["code"] == "rows_refused"
    assert refused.json()["errors"][0]["row"] == 1
    assert refused.json()["errors"][0]["field"] == "measured_at"
    assert user.get("/v1/measurements", params={"component": "saw"}).status_code == 404
    receipt = manager.post("/v1/measurements", params={"partial": "true"}, json=[good, bad])
    assert receipt.status_code == 201
    assert (receipt.json()["accepted"], receipt.json()["rejected"]) == (1, 1)
    assert receipt.json()["problems"][0]["row"] == 1


def test_integer_times_need_a_declared_unit(manager):
    row = {"component": "saw", "metric": "epoch", "measured_at": 1_790_000_000, "value": 5}
    assert manager.post("/v1/measurements", json=[row]).status_code == 422
    assert manager.post("/v1/measurements", params={"time_unit": "s"}, json=[row]).status_code == 201


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"[{", {"Content-Type": "application/json"}, 400),
        (b"", {"Content-Type": "application/json"}, 400),
        (b"[]", {"Content-Type": "text/html"}, 415),
        (b"[]", {}, 415),
        (b"[]", {"Content-Type": "application/json", "Content-Encoding": "br"}, 415),
        (
            b'[{"component":"a","metric":"b","measured_at":"2026-11-20T10:00:00Z","value":NaN}]',
            {"Content-Type": "application/json"},
            422,
        ),
        (
            b'[{"component":"\\ud800","metric":"b","measured_at":"2026-11-20T10:00:00Z","value":1}]',
            {"Content-Type": "application/json"},
            422,
        ),
        (b" " * 70_000, {"Content-Type": "application/json"}, 413),
    ],
)
def test_deliveries_that_cannot_be_read_are_problems(manager, content, headers, status):
    answer = manager.post("/v1/measurements", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
