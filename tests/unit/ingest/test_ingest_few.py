"""The short way in says yes to nothing that the general decoder refuses or reads otherwise."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gaugehouse.ingest import Limits, decode_few
from unit.ingest.agreement import agree_on_few

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
JSON = "application/json"
GOOD = {"component": "pump-1", "metric": "temperature", "measured_at": "2026-11-20T10:00:00Z", "value": 71.5}

NAMES = st.one_of(
    st.sampled_from(["pump-1", "Förderband 3", "", " x", "a" * 201, "\u2028", "e\u0301"]), st.text(max_size=5)
)
TIMES = st.sampled_from(
    [
        "2026-11-20T10:00:00Z",
        "2026-11-20T10:00:00.123456Z",
        "2026-11-20 10:00:00.1234567891+01:00",
        "2026-11-20T10:00Z",
        "2026-11-20T10:00:60Z",
        "2026-02-30T10:00:00Z",
        "2026-11-20T10:00:00",
        "2026-11-22T10:00:00Z",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "2020-01-01T00:00:00z",
        "now",
        "",
    ]
)
VALUES = st.one_of(
    st.floats(),
    st.integers(),
    st.none(),
    st.booleans(),
    st.just("1"),
    st.sampled_from([2**53, -(2**53), 2**53 + 1, 1e308]),
)
QUALITIES = st.sampled_from([0, 1, 2, 3, -1, "good", "bad", "2", None, True, 1.0, "GOOD"])
CELLS = {"component": NAMES, "metric": NAMES, "measured_at": TIMES, "value": VALUES, "quality": QUALITIES}
ROW = st.one_of(
    st.fixed_dictionaries({}, optional=CELLS),
    st.fixed_dictionaries({}, optional=CELLS).map(lambda cells: GOOD | dict(list(cells.items())[:1])),
    st.just(GOOD | {"unit": "K"}),
)
LIMITS = st.sampled_from(
    [
        Limits(),
        Limits(json_rows_limit=2),
        Limits(lateness_limit_s=86_400.0),
        Limits(kept_from={"measured_at": NOW - timedelta(hours=3)}),
        Limits(future_limit_s=0.0),
    ]
)


@settings(max_examples=400)
@given(st.lists(ROW, max_size=4), LIMITS)
def test_both_ways_agree_about_every_delivery(rows, limits):
    agree_on_few(json.dumps(rows).encode(), limits)


@settings(max_examples=300)
@given(st.data())
@example(None)
def test_both_ways_agree_about_mangled_bytes(data):
    body = json.dumps([GOOD, GOOD | {"quality": "bad", "value": None}], separators=(",", ":")).encode()
    if data is not None:
        at = data.draw(st.integers(0, len(body) - 1))
        cut = data.draw(st.integers(0, 12))
        put = data.draw(
            st.one_of(
                st.binary(max_size=3), st.sampled_from([b'"', b"\\u0041", b",", b"[", b'"value":1,', b"\xef\xbb\xbf"])
            )
        )
        body = body[:at] + put + body[at + cut :]
    agree_on_few(body, Limits())


@pytest.mark.parametrize(
    "body",
    [
        b'[{"component":"a","component":"b","metric":"m","measured_at":"2026-11-20T10:00:00Z","value":1}]',
        b'[{"component":"a","metric":"m","measured_at":"2026-11-20T10:00:00Z","value":1,"value":1}]',
        b'{"component":["a"],"metric":"m","measured_at":["2026-11-20T10:00:00Z"],"value":[1]}',
        b'{"measurements":[]}',
        b"[]",
        b"",
        b"[[[[",
    ],
)
def test_repeated_keys_and_other_shapes_are_left_to_the_general_way(body):
    assert decode_few(body, limits=Limits(), now=NOW) is None


def test_a_plain_row_takes_the_short_way():
    few = decode_few(
        json.dumps([GOOD, GOOD | {"component": "Förderband 3", "quality": "bad", "value": None}]).encode(),
        limits=Limits(),
        now=NOW,
    )
    assert few is not None
    assert few.component == ["pump-1", "Förderband 3"]
    assert few.value == [71.5, None]
    assert few.quality == [0, 2]
