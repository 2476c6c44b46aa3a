"""What devices send, read: every bad part is named, and nothing but our own errors leaves."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.errors import GaugehouseError, Refused, Unreadable
from gaugehouse.fleet.heartbeats import read_heartbeat
from gaugehouse.fleet.readings import find_offset_s, read_device_id, read_readings
from gaugehouse.fleet.status import Status
from gaugehouse.ingest import Limits

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
GOOD = {"device_id": "d", "timestamp": "2026-11-20T10:00:00Z", "battery_level": 90, "rssi": -50, "online": True}
LIMITS = Limits()
UUID = "063c5957-8905-45f9-bfe3-960713788919"


def read(sent, limits=LIMITS):
    return read_heartbeat(sent if isinstance(sent, bytes) else json.dumps(sent).encode(), limits=limits, now=NOW)


def refused(sent, limits=LIMITS):
    with pytest.raises(Refused) as caught:
        read(sent, limits)
    return [problem["field"] for problem in caught.value.fields["errors"]]


def test_a_heartbeat_becomes_three_rows_of_one_instant():
    rows = read(GOOD | {"extra": [1]}).rows()
    assert list(zip(rows.component, rows.metric, rows.value, rows.quality, strict=True)) == [
        ("d", "battery_level", 90.0, 0),
        ("d", "rssi", -50.0, 0),
        ("d", "online", 1.0, 0),
    ]
    assert set(rows.measured_at_us) == {1_795_168_800_000_000}


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("value", [None, [], {}, "", "\ud800", float("nan"), float("inf"), 10**400, 2**53])
def test_a_member_that_cannot_be_is_named(name, value):
    assert refused(GOOD | {name: value}) == [f"body.{name}"]


@pytest.mark.parametrize("name", list(GOOD))
def test_a_missing_member_is_named(name):
    assert refused({key: value for key, value in GOOD.items() if key != name}) == [f"body.{name}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("battery_level", 100.0001),
        ("battery_level", -0.5),
        ("battery_level", True),
        ("battery_level", "90"),
        ("online", 1),
        ("timestamp", "2026-11-20T10:00:00"),
        ("timestamp", "2026-11-21T12:00:01Z"),
        ("timestamp", "1969-12-31T23:59:59Z"),
        ("device_id", " d"),
        ("device_id", "d" * 201),
    ],
)
def test_values_beside_their_bounds_are_named(name, value):
    assert refused(GOOD | {name: value}) == [f"body.{name}"]


def test_all_bad_members_are_named_at_once():
    assert refused({}) == [f"body.{name}" for name in GOOD]
    assert refused([]) == ["body"]


def test_the_bounds_of_a_project_hold():
    limits = Limits(lateness_limit_s=3600.0)
    assert refused(GOOD, limits) == ["body.timestamp"]
    kept = Limits(kept_from={"measured_at": NOW - timedelta(hours=1)})
    assert refused(GOOD, kept) == ["body.timestamp"]
    assert read(GOOD | {"timestamp": "2026-11-20T11:30:00Z"}, limits).component == "d"


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body):
    for reader in (read_heartbeat, read_readings):
        with pytest.raises(GaugehouseError):
            reader(body, limits=LIMITS, now=NOW)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "count"]), inner, max_size=3),
    max_leaves=6,
)


@given(JSON_VALUES, JSON_VALUES)
def test_any_json_is_read_or_refused(sent, other):
    body = json.dumps({**GOOD, **(sent if isinstance(sent, dict) else {"device_id": sent})}).encode()
    readings = json.dumps({"id": UUID, "readings": [sent, other]}).encode()
    for reader, content in ((read_heartbeat, body), (read_readings, readings)):
        with suppress(Refused, Unreadable):
            reader(content, limits=LIMITS, now=NOW)


def test_readings_become_two_rows_each():
    body = {
        "id": UUID.upper(),
        "readings": [
            {"count": 9, "timestamp": "2021-09-29T16:09:15+01:00"},
            {"count": 2, "timestamp": "2021-09-29T16:09:15Z"},
        ],
    }
    rows = read_readings(json.dumps(body).encode(), limits=LIMITS, now=NOW).rows()
    assert set(rows.component) == {UUID}
    assert list(zip(rows.metric, rows.measured_at_us, rows.value, strict=True)) == [
        ("count", 1_632_928_155_000_000, 9.0),
        ("utc_offset_s", 1_632_928_155_000_000, 3600.0),
        ("count", 1_632_931_755_000_000, 2.0),
        ("utc_offset_s", 1_632_931_755_000_000, 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "offset_s"),
    [
        ("2021-09-29T16:08:15+01:00", 3600),
        ("2021-09-29T16:08:15.123456+0100", 3600),
        ("2021-09-29T16:08:15-0330", -12_600),
        ("2021-09-29T16:08:15+14", 50_400),
        ("2021-09-29T16-08:00", -28_800),
        ("2021-09-29T16Z", 0),
        ("2021-09-29 16:08z", 0),
    ],
)
def test_the_offset_is_kept_in_every_notation(text, offset_s):
    assert find_offset_s(text) == offset_s


@pytest.mark.parametrize(
    "text", [None, 1, "", "x", "063c595789054 5f9bfe3960713788919", UUID.replace("-", ""), f"{{{UUID}}}",
             "063c5957-8905-15f9-bfe3-960713788919", "063c5957-8905-45f9-cfe3-960713788919"]
)  # fmt: skip
def test_only_a_uuid_of_version_4_names_a_device(text):
    with pytest.raises(Refused):
        read_device_id(text)


def test_the_number_of_a_status_depends_on_device_and_instant_only():
    def number(component, at, battery=1.0):
        return Status(
            component=component, measured_at=at, battery_level=battery, rssi=None, is_online=None, received_at=NOW
        ).number

    assert number("a", NOW) == number("a", NOW, 2.0)
    assert len({number("a", NOW), number("b", NOW), number("a", NOW + timedelta(microseconds=1))}) == 3
    assert all(0 <= number(str(n), NOW) < 2**53 for n in range(100))
