"""What makes a row bad: each rule, and all of them against a row-wise oracle."""

import json
import math
import re
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.errors import RowsRefused
from gaugehouse.ingest.explain import explain_measurements
from gaugehouse.ingest.flaws import Flaws
from gaugehouse.ingest.instants import instants_from_text, parse_instant_text
from gaugehouse.ingest.json_rows import _read_json_by_msgspec, _read_lines_by_msgspec, _read_lines_by_polars
from gaugehouse.ingest.json_walk import read_lines
from gaugehouse.ingest.limits import Limits
from gaugehouse.measurements.names import find_name_problem
from payloads import ARROW, CSV, JSON, NDJSON, PARQUET, from_batch, write_arrow, write_parquet

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
GOOD = {"component": "a", "metric": "m", "measured_at": "2026-11-20T10:00:00Z", "value": 1}
TOMORROW = "2026-11-21T12:00:00.000001Z"


def first_problem(decode, body, media_type):
    with pytest.raises(RowsRefused) as refused:
        decode(body, media_type)
    assert refused.value.bad_rows == 1
    return refused.value.problems[0]


@pytest.mark.parametrize(
    ("field", "sent", "words"),
    [
        ("value", True, "boolean"),
        ("value", False, "boolean"),
        ("value", "12", "text ('12')"),
        ("value", None, "null"),
        ("value", math.nan, "finite"),
        ("value", math.inf, "finite"),
        ("value", -math.inf, "finite"),
        ("value", 2**53 + 1, "2^53"),
        ("value", -(2**53) - 1, "2^53"),
        ("value", 10**400, "2^53"),
        ("value", [1], "array"),
        ("value", {"a": 1}, "object"),
        ("component", None, "missing"),
        ("component", "", "empty"),
        ("component", 5, "number"),
        ("component", " a", "space"),
        ("component", "a\ud800", "surrogate"),
        ("component", "a\x00", "control"),
        ("component", "a" * 201, "201"),
        ("metric", None, "missing"),
        ("metric", "o\u0308", "normal form"),
        ("metric", True, "boolean"),
        ("measured_at", None, "missing"),
        ("measured_at", "", "not a time"),
        ("measured_at", "2026-11-20", "not a time"),
        ("measured_at", "2026-11-20T10:00:00", "offset"),
        ("measured_at", "2026-02-30T10:00:00Z", "exists"),
        ("measured_at", "2026-11-20T10:00:60Z", "exists"),
        ("measured_at", "2026-11-20T10:00:00+24:00", "exists"),
        ("measured_at", "2026-11-20T10:00:00+00:60", "exists"),
        ("measured_at", "20261120T100000Z", "not a time"),
        ("measured_at", "1969-12-31T23:59:59.999999Z", "before 1970"),
        ("measured_at", "0000-01-01T00:00:00Z", ""),
        ("measured_at", "9999-12-31T23:59:59-14:00", "ahead"),
        ("measured_at", TOMORROW, "ahead"),
        ("measured_at", 1795168800, "time_unit"),
        ("measured_at", "\N{FULLWIDTH DIGIT TWO}026-11-20T10:00:00Z", "not a time"),
        ("quality", 3, "must be"),
        ("quality", -1, "must be"),
        ("quality", True, "must be"),
        ("quality", 1.5, "must be"),
        ("quality", "1", "must be"),
        ("quality", "Good", "must be"),
        ("quality", [], "must be"),
    ],
)
def test_a_bad_cell_of_json_is_named_with_row_field_and_reason(field, sent, words, decode):
    rows = [GOOD, GOOD | {field: sent}, GOOD]
    for body, media_type in (
        (json.dumps(rows).encode(), JSON),
        ("\n".join(map(json.dumps, rows)).encode(), NDJSON),
        (json.dumps({"measurements": rows}).encode(), JSON),
    ):
        problem = first_problem(decode, body, media_type)
        assert (problem.row, problem.field) == (1, field)
        assert words in problem.reason
        assert len(decode(body, media_type, partial=True).batch) == 2


@pytest.mark.parametrize("sent", [1, 1.0, -0.0, 2**53, -(2**53), 1e300, 5e-324, 9007199254740993.0])
def test_a_finite_number_is_kept_exactly(sent, decode):
    for body, media_type in (
        (json.dumps([GOOD | {"value": sent}]), JSON),
        (json.dumps(GOOD | {"value": sent}), NDJSON),
    ):
        assert decode(body.encode(), media_type).batch["value"].to_pylist() == [float(sent)]


def test_a_null_value_is_stored_only_with_quality_bad(decode):
    for quality in (2, "bad"):
        decoded = decode(json.dumps([GOOD | {"value": None, "quality": quality}]).encode(), JSON)
        assert decoded.batch["value"].to_pylist() == [None]
    assert first_problem(decode, json.dumps([GOOD | {"value": None, "quality": 1}]).encode(), JSON).field == "value"


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ('{"component":"a","metric":"m","measured_at":"2026-11-20T10:00:00Z"}', "value", "missing"),
        ('{"metric":"m","measured_at":"2026-11-20T10:00:00Z","value":1}', "component", "missing"),
        (json.dumps(GOOD | {"unit": "C"}), "unit", "not a known column"),
        (json.dumps(GOOD)[:-1] + ',"value":2}', "value", "twice"),
        (json.dumps(GOOD)[:-1] + ',"\\u0076alue":1}', "value", "twice"),
        ("5", "row", "number"),
        ("null", "row", "null"),
        ('"text"', "row", "text"),
        ("[]", "row", "array"),
        ("{}", "component", "missing"),
    ],
)
def test_a_row_of_json_has_exactly_the_known_keys(row, field, words, decode):
    for body, media_type in ((f"[{json.dumps(GOOD)},{row}]", JSON), (f"{json.dumps(GOOD)}\n{row}", NDJSON)):
        problem = first_problem(decode, body.encode(), media_type)
        assert (problem.row, problem.field) == (1, field)
        assert words in problem.reason


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        ("a,m,2026-11-20T10:00:00Z,abc,0", "value", "text ('abc')"),
        ("a,m,2026-11-20T10:00:00Z,true,0", "value", "text"),
        ("a,m,2026-11-20T10:00:00Z,1_0,0", "value", "text"),
        ("a,m,2026-11-20T10:00:00Z,0x10,0", "value", "text"),
        ("a,m,2026-11-20T10:00:00Z,nan,0", "value", "finite"),
        ("a,m,2026-11-20T10:00:00Z,-Infinity,0", "value", "finite"),
        ("a,m,2026-11-20T10:00:00Z,1e999,0", "value", "finite"),
        ("a,m,2026-11-20T10:00:00Z,9007199254740993,0", "value", "2^53"),
        ("a,m,2026-11-20T10:00:00Z,,0", "value", "null"),
        ("a,m,,1,0", "measured_at", "missing"),
        (",m,2026-11-20T10:00:00Z,1,0", "component", "missing"),
        ("a,m,2026-11-20T10:00:00,1,0", "measured_at", "offset"),
        ("a,m,1795168800,1,0", "measured_at", "not a time"),
        ("a,m,2026-11-20T10:00:00Z,1,3", "quality", "must be"),
        ("a,m,2026-11-20T10:00:00Z,1,GOOD", "quality", "must be"),
        ("a,m,2026-11-20T10:00:00Z,1", "row", "4 fields"),
        ("a,m,2026-11-20T10:00:00Z,1,0,9", "row", "6 fields"),
        (" a,m,2026-11-20T10:00:00Z,1,0", "component", "space"),
        ('"a\nb",m,2026-11-20T10:00:00Z,1,0', "component", "control"),
    ],
)
def test_a_bad_cell_of_csv_is_named_with_row_field_and_reason(line, field, words, decode):
    good = "a,m,2026-11-20T10:00:00Z,1,good"
    problem = first_problem(
        decode, f"component,metric,measured_at,value,quality\n{good}\n\n{line}\n{good}\n".encode(), CSV
    )
    assert (problem.row, problem.field) == (1, field)
    assert words in problem.reason


@pytest.mark.parametrize("sent", ["+1", " 1", "1 ", "1.", ".5", "1e3", "-0", "007"])
def test_the_fast_and_the_slow_reader_of_csv_take_the_same_numbers(sent, decode):
    header, good = "component,metric,measured_at,value\n", "a,m,2026-11-20T10:00:00Z,"
    fast = decode(f"{header}{good}{sent}\n".encode(), CSV).batch["value"].to_pylist()
    # The second row sends the whole payload to the slow reader.
    slow = decode(f"{header}{good}{sent}\n{good}x\n".encode(), CSV, partial=True).batch["value"].to_pylist()
    assert fast == slow == [float(sent)]


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
@pytest.mark.parametrize(
    ("field", "column", "words"),
    [
        ("value", pa.array([1.0, math.nan]), "finite"),
        ("value", pa.array([1.0, math.inf]), "finite"),
        ("value", pa.array([1.0, None]), "null"),
        ("value", pa.array([1, 2**53 + 1], pa.int64()), "2^53"),
        ("value", pa.array([1, 2**64 - 1], pa.uint64()), "2^53"),
        ("value", pa.array([1, -(2**63)], pa.int64()), "2^53"),
        ("component", pa.array(["a", None]), "missing"),
        ("component", pa.array(["a", " "]), "space"),
        ("metric", pa.array(["a", "b\x7f"]), "control"),
        ("measured_at", pa.array([0, None], pa.timestamp("us", "UTC")), "missing"),
        ("measured_at", pa.array([0, -1], pa.timestamp("us", "UTC")), "before 1970"),
        ("measured_at", pa.array([0, -1], pa.timestamp("ns", "UTC")), "before 1970"),
        ("measured_at", pa.array([0, 2**62], pa.timestamp("us", "UTC")), "ahead"),
        ("measured_at", pa.array([0, 2**62], pa.timestamp("ms", "UTC")), "calendar"),
        ("quality", pa.array([0, 3], pa.int8()), "must be"),
        ("quality", pa.array([0, -1], pa.int64()), "must be"),
        ("quality", pa.array([0, 256], pa.int64()), "must be"),
        ("quality", pa.array(["good", "BAD"]), "must be"),
    ],
)
def test_a_bad_cell_of_a_table_is_named_with_row_field_and_reason(media_type, field, column, words, decode):
    table = pa.table(
        {
            "component": ["a", "b"],
            "metric": ["m", "m"],
            "measured_at": pa.array([0, 1], pa.timestamp("us", "UTC")),
            "value": [1.0, 2.0],
            "quality": pa.array([0, 1], pa.uint8()),
        }
    )
    table = table.set_column(table.column_names.index(field), field, column)
    problem = first_problem(decode, write_arrow(table) if media_type == ARROW else write_parquet(table), media_type)
    assert (problem.row, problem.field) == (1, field)
    assert words in problem.reason


def test_the_first_twenty_bad_rows_are_named_in_order_and_all_are_counted(decode):
    rows = [GOOD | {"value": "x"} if i % 2 else GOOD for i in range(100)]
    with pytest.raises(RowsRefused) as refused:
        decode(json.dumps(rows).encode(), JSON)
    assert refused.value.bad_rows == 50
    assert [error["row"] for error in refused.value.fields["errors"]] == list(range(1, 41, 2))
    decoded = decode(json.dumps(rows).encode(), JSON, partial=True)
    assert (len(decoded.batch), decoded.bad_rows, len(decoded.problems)) == (50, 50, 20)
    assert decoded.row_numbers.tolist() == list(range(0, 100, 2))


def test_a_refusal_of_hostile_rows_stays_small(decode):
    rows = [{"x" * 5000: "y" * 5000, "value": "z" * 5000, "component": "\x00" * 5000} for _ in range(100)]
    with pytest.raises(RowsRefused) as refused:
        decode(json.dumps(rows).encode(), JSON)
    assert len(json.dumps(refused.value.fields)) < 8192
    json.dumps(refused.value.fields, allow_nan=False).encode()


# --- the rules again, row by row, written a second time ---

TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?([Zz]|[+-]\d\d(:?[0-5]\d)?)", re.ASCII)


def oracle_instant(text):
    """Return the instant in microseconds, or None: by datetime.fromisoformat, which reads more than we do."""
    if not isinstance(text, str) or not TIME.fullmatch(text):
        return None
    text = re.sub(r"(\.\d{6})\d+", r"\1", text.upper().replace(" ", "T"))
    text = re.sub(r"([+-]\d\d)$", r"\1:00", text) if re.search(r"T.*[+-]\d\d$", text) else text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def oracle_row(row):  # noqa: PLR0911 - one guard per rule reads best
    """Return the stored row, or None when it is bad."""
    if not isinstance(row, dict) or set(row) - {*GOOD, "quality"} or set(GOOD) - set(row):
        return None
    quality = row.get("quality")
    known = {None: 0, 0: 0, 1: 1, 2: 2, "good": 0, "uncertain": 1, "bad": 2}
    if isinstance(quality, bool | list | dict) or quality not in known:
        return None
    for name in (row["component"], row["metric"]):
        if not isinstance(name, str) or find_name_problem(name):
            return None
    value, instant = row["value"], oracle_instant(row["measured_at"])
    if isinstance(value, bool | str | list | dict) or instant is None:
        return None
    if value is None and known[quality] != 2:
        return None
    if value is not None and (not math.isfinite(value) or (isinstance(value, int) and abs(value) > 2**53)):
        return None
    if not 0 <= instant <= ((NOW - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)) + 86_400_000_000:
        return None
    return (row["component"], row["metric"], instant, None if value is None else float(value), known[quality])


texts = st.sampled_from(
    ["a", "pump 1", "Förderband", "", " a", "1", "true", "-1.5e3", 'q"uote', "back\\slash", "[", "{", "x\ud800"]
)
times = st.sampled_from(
    [
        "2026-11-20T10:00:00Z",
        "2026-11-20t10:00:00z",
        "2026-11-20 10:00:00.5+01:00",
        "2026-11-20T10:00:00.1234567Z",
        "2026-11-20T10:00:00.123456789+0530",
        "2026-11-20T10Z",
        "2026-11-20T10:00-05",
        "2026-11-20T10:00:00",
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:30:00+01:00",
        TOMORROW,
        "2026-11-21T12:00:00Z",
        "",
        "x",
        "0001-01-01T00:00:00+14:00",
        "2026-13-01T00:00:00Z",
        "1600-01-01T00:00:00.1234567Z",
    ]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, 1e300, 0.1]),
    texts,
    st.just([]),
    st.just({}),
)
cells = {
    "component": texts | scalars,
    "metric": texts,
    "measured_at": times | scalars,
    "value": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5) | scalars,
    "quality": st.sampled_from([0, 1, 2, "good", "uncertain", "bad", None]) | scalars,
}
clean_row = st.fixed_dictionaries(
    {
        "component": st.sampled_from(["a", "b"]),
        "metric": st.just("m"),
        "measured_at": times,
        "value": st.floats(-1e6, 1e6),
    },
    optional={"quality": st.sampled_from([0, 1, 2, "good"])},
)
dirty_row = st.fixed_dictionaries({}, optional=cells | {"unit": scalars})
any_row = st.one_of(clean_row, st.fixed_dictionaries(cells), dirty_row, st.sampled_from([5, None, [], "x"]))


def as_tuples(batch):
    columns = [batch[name].to_pylist() for name in ("component", "metric")]
    columns.append(batch["measured_at"].cast(pa.int64()).to_pylist())
    return list(zip(*columns, batch["value"].to_pylist(), batch["quality"].to_pylist(), strict=True))


@given(st.lists(any_row, max_size=6))
@settings(max_examples=150)
def test_json_and_ndjson_keep_exactly_the_rows_that_the_oracle_keeps(decode, sent):
    expected = [(number, kept) for number, row in enumerate(sent) if (kept := oracle_row(row)) is not None]
    bodies = ((json.dumps(sent), JSON), ("\n".join(map(json.dumps, sent)), NDJSON))
    for body, media_type in bodies:
        decoded = decode(body.encode(), media_type, partial=True)
        assert as_tuples(decoded.batch) == [kept for _, kept in expected]
        assert decoded.bad_rows == len(sent) - len(expected)
        if decoded.bad_rows:
            assert decoded.row_numbers.tolist() == [number for number, _ in expected]


@given(st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=6))
@settings(max_examples=80)
def test_columns_of_json_keep_exactly_the_rows_that_the_oracle_keeps(decode, sent):
    body = json.dumps({name: [row[name] for row in sent] for name in cells}).encode()
    decoded = decode(body, JSON, partial=True)
    assert as_tuples(decoded.batch) == [kept for row in sent if (kept := oracle_row(row)) is not None]


# Lines as a hostile sender would write them: keys repeated, unknown, escaped; numbers for texts; no comma missing.
raw_cell = st.sampled_from(
    [
        "1",
        '"1"',
        "true",
        "null",
        '"a"',
        '"good"',
        "2",
        '"2026-11-20T10:00:00Z"',
        "[]",
        "{}",
        '"\\u0061"',
        "-1.5",
        '"\\\\"',
        '"{"',
        "1e2",
    ]
)
raw_key = st.sampled_from(
    ['"component"', '"metric"', '"measured_at"', '"value"', '"quality"', '"x"', '"v\\u0061lue"', '" value"']
)
raw_pair = st.tuples(raw_key, raw_cell).map(lambda pair: f"{pair[0]}: {pair[1]}")
good_pairs = ['"component":"a"', '"metric":"m"', '"measured_at":"2026-11-20T10:00:00Z"', '"value":1']
raw_line = st.tuples(st.sets(st.integers(0, 3), max_size=2), st.lists(raw_pair, max_size=3)).map(
    lambda parts: "{" + ",".join([p for i, p in enumerate(good_pairs) if i not in parts[0]] + parts[1]) + "}"
)


@given(st.lists(raw_line, min_size=1, max_size=4))
@settings(max_examples=300)
def test_what_a_fast_reader_vouches_for_is_what_the_slow_one_reads(lines):
    body = "\n".join(lines).encode()
    slow = explain_measurements(read_lines(body.decode(), row_limit=100), time_unit=None)
    array = b"[" + body.replace(b"\n", b",") + b"]"
    limits = Limits()
    for fast in (
        _read_lines_by_polars(body, 100),
        _read_lines_by_msgspec(body, limits, None),
        _read_json_by_msgspec(array, limits, None),
    ):
        if fast is None:
            continue
        assert not (slow.flaws.bad & ~fast.flaws.bad).any(), lines
        for column in ("component", "metric"):
            ours, theirs = getattr(fast, column), getattr(slow, column)
            assert ours.to_arrow().to_pylist() == theirs.to_arrow().to_pylist()
        assert fast.value.given.tolist() == slow.value.given.tolist()
        assert pa.array(fast.value.floats).equals(pa.array(slow.value.floats)) or not fast.value.given.all()
        assert fast.quality.tolist() == slow.quality.tolist()


@given(
    st.builds(
        "{}{}{}{}{}".format,
        st.dates().map(str) | st.sampled_from(["2026-02-30", "0000-01-01", "2026-1-1"]),
        st.sampled_from(["T", "t", " ", "", "_"]),
        st.times().map(str)
        | st.sampled_from(["10", "10:00", "10:00:60", "24:00:00", "10:00:00.", "10:00:00.1234567", "1:00"]),
        st.sampled_from(["", "Z", "z", "+01:00", "-0530", "+01", "+24:00", "+00:60", " Z", "+1:00", "-00:00"]),
        st.sampled_from(["", "", "", " ", "Z", "0"]),
    )
)
@settings(max_examples=300)
def test_every_way_to_parse_a_time_text_agrees_with_the_oracle(text):
    expected = oracle_instant(text)
    flaws = Flaws(1)
    read = instants_from_text(pa.array([text]), "measured_at", flaws)
    carefully = parse_instant_text(text)
    if text.startswith("0000"):
        return  # Arrow knows the year 0, Python does not; both end as a time before 1970 or none
    assert (None if isinstance(carefully, str) else carefully) == expected
    assert (int(read.epoch_us[0]) if read.given[0] else None) == expected
    assert flaws.bad[0] == (expected is None)


def test_a_number_for_a_text_does_not_hide_a_repeated_key_of_another_row(decode):
    # Both change the number of quotes by two, in opposite directions.
    number_for_text = '{"component":"a","metric":"m","measured_at":5,"value":1}'
    repeated_key = json.dumps(GOOD)[:-1] + ',"value":2}'
    for field in ('"component":"a"', '"metric":"m"'):
        number_for_name = json.dumps(GOOD, separators=(",", ":")).replace(field, field.split(":")[0] + ":7")
        for rows in ([number_for_text, repeated_key], [number_for_name, repeated_key]):
            for body, media_type in (("\n".join(rows), NDJSON), (f"[{','.join(rows)}]", JSON)):
                decoded = decode(body.encode(), media_type, partial=True)
                assert (len(decoded.batch), decoded.bad_rows) == (0, 2)


def test_fractions_are_cut_towards_the_past(decode):
    row = GOOD | {"measured_at": "2026-11-20T10:00:00.1234569Z"}
    expected = datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)
    assert from_batch(decode(json.dumps([row]).encode(), JSON).batch)[0]["measured_at"] == expected
    slow = [row, GOOD | {"measured_at": "x"}]
    assert from_batch(decode(json.dumps(slow).encode(), JSON, partial=True).batch)[0]["measured_at"] == expected
