"""Every format gives the same batch, and says the same of what it cannot take."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.errors import Refused, RowsRefused, TooLarge, Unreadable, UnsupportedFormat
from gaugehouse.ingest import Limits
from gaugehouse.measurements.schema import MEASUREMENT_BATCH
from payloads import (
    ARROW,
    CSV,
    JSON,
    MEASUREMENTS,
    MEDIA_TYPES,
    NDJSON,
    PARQUET,
    from_batch,
    to_table,
    write,
    write_arrow,
    write_columns,
    write_json,
    write_ndjson,
    write_parquet,
)

EPOCH, LATEST = datetime(1970, 1, 1), datetime(2026, 11, 21, 12)  # noqa: DTZ001 - hypothesis wants naive bounds
ROW = b'{"component":"a","metric":"m","measured_at":"2026-11-20T10:00:00Z","value":1}'


def given_rows(**limits):
    letters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
    names = st.text(letters, min_size=1, max_size=12).map(lambda name: unicodedata.normalize("NFC", f"n{name}."))
    row = st.fixed_dictionaries(
        {
            "component": names,
            "metric": names,
            "measured_at": st.datetimes(
                EPOCH,
                LATEST,
                timezones=st.just(UTC),
            ),
            "value": st.floats(allow_nan=False, allow_infinity=False),
            "quality": st.sampled_from([0, 1, 2]),
        }
    ) | st.fixed_dictionaries(
        {
            "component": names,
            "metric": names,
            "measured_at": st.just(datetime(2026, 1, 1, tzinfo=UTC)),
            "value": st.none(),
            "quality": st.just(2),
        }
    )
    return st.lists(row, **limits)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@given(sent=given_rows(max_size=8))
@settings(max_examples=40)
def test_a_batch_comes_back_as_it_was_written(media_type, sent, decode):
    decoded = decode(write(sent, media_type), media_type)
    assert decoded.batch.schema == MEASUREMENT_BATCH
    assert from_batch(decoded.batch) == sent
    decoded.batch.validate(full=True)


@given(sent=given_rows(min_size=1, max_size=8))
@settings(max_examples=40)
def test_columns_of_json_come_back_as_they_were_written(sent, decode):
    assert from_batch(decode(write_columns(sent), JSON).batch) == sent


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@given(sent=given_rows(min_size=2, max_size=8), seed=st.randoms())
@settings(max_examples=15)
def test_the_order_of_rows_does_not_change_the_set(media_type, sent, seed, decode):
    shuffled = sent.copy()
    seed.shuffle(shuffled)

    def as_set(rows):
        return sorted(map(repr, from_batch(decode(write(rows, media_type), media_type).batch)))

    assert as_set(sent) == as_set(shuffled)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_no_rows_are_an_empty_batch(media_type, decode):
    decoded = decode(write([], media_type), media_type)
    assert (len(decoded.batch), decoded.bad_rows, decoded.batch.schema) == (0, 0, MEASUREMENT_BATCH)


def test_the_dictionary_holds_only_names_of_stored_rows(rows, decode):
    rows[3]["component"] = "never stored"
    rows[3]["value"] = "text"
    decoded = decode(write_json(rows), JSON, partial=True)
    assert sorted(decoded.batch["component"].combine_chunks().dictionary.to_pylist()) == ["pump-0", "pump-1"]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, b'{"measurements":[' + ROW + b"]}"),
        (JSON, b" \n [" + ROW + b"] \n"),
        (JSON, b"\xef\xbb\xbf[" + ROW + b"]"),
        (NDJSON, b"\r\n" + ROW + b"\r\n\n  \n"),
        ("application/jsonl; charset=UTF-8", ROW),
        ("application/ndjson", ROW),
        (CSV, b"\xef\xbb\xbfvalue,metric,measured_at,component\r\n1,m,2026-11-20T10:00:00Z,a\r\n\r\n"),
        (
            "text/csv;charset=utf-8;header=present",
            b'component,metric,measured_at,value,quality\n"a",m,2026-11-20 10:00Z,1,\n',
        ),
        (JSON, b'{"component":"a","metric":"m","measured_at":["2026-11-20T10:00:00Z"],"value":[1]}'),
        (JSON, ROW.replace(b'"a"', b'"\\u0061"').join([b"[", b"]"])),
        (JSON, b"[" + ROW[:-1] + b',"quality":"good"}]'),
        (JSON, b"[" + ROW[:-1] + b',"quality":null}]'),
        (NDJSON, ROW[:-1] + b',"quality":0}'),
        (NDJSON, ROW[:-1] + b',"quality":"good"}'),
    ],
)
def test_other_ways_to_write_the_same_row_are_read_alike(media_type, body, decode):
    assert from_batch(decode(body, media_type).batch) == [
        {
            "component": "a",
            "metric": "m",
            "measured_at": datetime(2026, 11, 20, 10, tzinfo=UTC),
            "value": 1.0,
            "quality": 0,
        }
    ]


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/jsonx", "application/json; charset=latin-1", "x" * 500]
)
def test_other_media_types_are_not_read(media_type, decode):
    with pytest.raises(UnsupportedFormat):
        decode(b"[]", media_type)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, b""),
        (JSON, b"[" + ROW),
        (JSON, b"[" + ROW + b"] x"),
        (JSON, b"[" + ROW + b",]"),
        (JSON, b"5"),
        (JSON, b'"text"'),
        (JSON, b"\xff"),
        (JSON, b"[" * 100_000),
        (JSON, b'[{"component":' + b"[" * 100_000),
        (JSON, b'[{"value":' + b"1" * 5000 + b"}]"),
        (JSON, b'{"component"'),
        (JSON, b'{"component" 5}'),
        (JSON, b"{5:5}"),
        (NDJSON, ROW + b"\n" + ROW[:-1]),
        (NDJSON, ROW + ROW),
        (NDJSON, ROW + b"," + ROW),
        (NDJSON, ROW.replace(b",", b",\n", 1)),
        (NDJSON, b"\xfe\xff"),
        (CSV, b""),
        (CSV, b'component,metric,measured_at,value\n"a,m,2026-11-20T10:00:00Z,1\n'),
        (ARROW, b""),
        (ARROW, b"ARROW1\0\0"),
        (PARQUET, b""),
        (PARQUET, b"PAR1" * 10),
    ],
)
def test_a_payload_that_is_not_what_its_type_says_is_unreadable(media_type, body, decode):
    with pytest.raises(Unreadable):
        decode(body, media_type)
    with pytest.raises(Unreadable):
        decode(body, media_type, partial=True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"component":["a"],"metric":["m"],"measured_at":["2026-11-20T10:00:00Z"],"value":[1,2]}', "ragged_columns"),
        (b'{"component":["a"],"metric":["m"],"measured_at":["2026-11-20T10:00:00Z"]}', "missing_column"),
        (b'{"component":"a","metric":"m","measured_at":[],"value":[],"unit":"x"}', "unknown_column"),
        (b'{"component":"a","metric":"m","measured_at":[],"value":[],"value":[]}', "duplicate_key"),
        (b'{"component":5,"metric":"m","measured_at":[],"value":[]}', "wrong_type"),
        (b'{"component":"a","metric":"m","measured_at":"2026-11-20T10:00:00Z","value":[1]}', "wrong_type"),
        (b'{"measurements":[],"more":1}', "unknown_column"),
        (b'{"measurements":{}}', "wrong_type"),
        (b'{"measurements":[],"measurements":[]}', "duplicate_key"),
    ],
)
def test_an_object_of_json_must_be_well_formed_columns(body, code, decode):
    with pytest.raises(Refused) as refused:
        decode(body, JSON)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("component,metric,measured_at,value,unit", "unknown_column"),
        ("component,metric,value", "missing_column"),
        ("component,metric,measured_at,value,value", "duplicate_column"),
        ("Component,metric,measured_at,value", "unknown_column"),
    ],
)
def test_a_csv_header_names_exactly_the_known_columns(header, code, decode):
    with pytest.raises(Refused) as refused:
        decode(header.encode() + b"\n", CSV)
    assert refused.value.code == code


def columns(**replaced):
    moment = datetime(2026, 11, 20, 10, tzinfo=UTC)
    known = {
        "component": ["a"],
        "metric": ["m"],
        "measured_at": pa.array([moment], pa.timestamp("us", "UTC")),
        "value": [1.0],
    }
    return pa.table({name: column for name, column in (known | replaced).items() if column is not None})


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
@pytest.mark.parametrize(
    ("table", "code"),
    [
        (columns(unit=["x"]), "unknown_column"),
        (columns(value=None), "missing_column"),
        (columns(measured_at=pa.array([0], pa.timestamp("us"))), "naive_time"),
        (columns(measured_at=["2026-11-20T10:00:00Z"]), "wrong_type"),
        (columns(measured_at=[5]), "wrong_type"),
        (columns(value=["1"]), "wrong_type"),
        (columns(value=[True]), "wrong_type"),
        (columns(component=[5]), "wrong_type"),
        (columns(component=[b"a"]), "wrong_type"),
        (columns(quality=[1.0]), "wrong_type"),
        (columns(quality=pa.array([None], pa.list_(pa.int8()))), "wrong_type"),
    ],
)
def test_a_table_must_have_the_known_columns_and_types(media_type, table, code, decode):
    body = write_arrow(table) if media_type == ARROW else write_parquet(table)
    with pytest.raises(Refused) as refused:
        decode(body, media_type)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a"], pa.string_view()),
        pa.array(["a"], pa.string()).dictionary_encode().cast(pa.dictionary(pa.int32(), pa.string())).filter([True]),
        pa.ExtensionArray.from_storage(pa.json_(), pa.array(['"a"'], pa.string())),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["a"])),
    ],
)
def test_views_extensions_and_run_ends_are_refused_and_dictionaries_read(column, decode):
    body = write_arrow(columns(component=column))
    if pa.types.is_dictionary(column.type):
        assert from_batch(decode(body, ARROW).batch)[0]["component"] == "a"
    else:
        with pytest.raises(Refused, match="'component'"):
            decode(body, ARROW)


def test_arrow_of_many_batches_dictionaries_and_compressions_is_one_batch(rows, decode):
    table = to_table(rows, MEASUREMENTS)
    coded = table.set_column(0, "component", table["component"].dictionary_encode())
    for compression in (None, "zstd", "lz4"):
        body = write_arrow(coded, compression=compression, max_chunksize=2)
        assert from_batch(decode(body, ARROW).batch) == rows


def test_dictionary_deltas_are_refused(decode):
    first = pa.array(["a"]).dictionary_encode()
    second = pa.DictionaryArray.from_arrays(pa.array([1], pa.int32()), pa.array(["a", "b"]))
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    sink = pa.BufferOutputStream()
    schema = columns(component=first).schema
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_table(columns(component=first))
        writer.write_table(columns(component=second))
    with pytest.raises(Refused, match="deltas"):
        decode(sink.getvalue().to_pybytes(), ARROW)


def test_a_dictionary_may_repeat_names_and_hold_nulls(decode):
    names = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3], pa.int8()), pa.array(["a", "a", None, "b"]))
    table = pa.concat_tables([columns()] * 4).combine_chunks().set_column(0, "component", names)
    decoded = decode(write_arrow(table), ARROW, partial=True)
    assert [row["component"] for row in from_batch(decoded.batch)] == ["a", "a", "b"]
    assert decoded.problems[0].as_fields() == {"row": 2, "field": "component", "reason": "is missing"}
    assert decoded.row_numbers.tolist() == [0, 1, 3]


def test_arrow_that_unfolds_beyond_the_limit_is_refused_before_it_is_decoded(decode):
    zeros = columns(value=pa.array([0.0])).slice(0, 1)
    table = pa.concat_tables([zeros] * 100_000).combine_chunks()
    body = write_arrow(table, compression="zstd")
    assert len(body) < 600_000
    with pytest.raises(TooLarge, match="decodes"):
        decode(body, ARROW, limits=Limits(decoded_limit_bytes=1_000_000))


def test_parquet_that_unfolds_beyond_the_limit_is_refused_by_its_page_headers(decode):
    table = columns(component=pa.array(["a" * 3_000_000])).cast(columns().schema)
    body = write_parquet(table, compression="zstd", use_dictionary=False)
    assert len(body) < 20_000
    with pytest.raises(TooLarge, match="decodes"):
        decode(body, PARQUET, limits=Limits(decoded_limit_bytes=1_000_000))


def test_parquet_text_encodings_that_unfold_are_refused(decode):
    body = write_parquet(columns(), use_dictionary=False, column_encoding={"component": "DELTA_BYTE_ARRAY"})
    with pytest.raises(Refused, match="encoding"):
        decode(body, PARQUET)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zstd"},
        {"compression": "gzip", "write_page_checksum": True},
        {"data_page_version": "2.0"},
        {"use_dictionary": False},
        {"row_group_size": 2},
        {"data_page_size": 10},
        {"version": "1.0"},
        {
            "use_dictionary": False,
            "column_encoding": {"value": "BYTE_STREAM_SPLIT", "measured_at": "DELTA_BINARY_PACKED"},
        },
        {"write_page_index": True},
    ],
)
def test_parquet_of_the_usual_writers_is_read(options, rows, decode):
    assert from_batch(decode(write_parquet(to_table(rows, MEASUREMENTS), **options), PARQUET).batch) == rows


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_more_rows_than_the_limit_are_too_large(media_type, rows, decode):
    with pytest.raises(TooLarge):
        decode(write(rows, media_type), media_type, limits=Limits(rows_limit=5, json_rows_limit=5))
    assert len(decode(write(rows, media_type), media_type, limits=Limits(rows_limit=6, json_rows_limit=6)).batch) == 6


def test_columns_of_json_may_be_longer_than_an_array(rows, decode):
    limits = Limits(rows_limit=6, json_rows_limit=5)
    assert len(decode(write_columns(rows), JSON, limits=limits).batch) == 6
    with pytest.raises(TooLarge):
        decode(write_json(rows), JSON, limits=limits)
    with pytest.raises(TooLarge):
        decode(write_columns(rows), JSON, limits=Limits(rows_limit=5))


@pytest.mark.parametrize("body", [b"[" + b"{}," * 200_000, b'{"value":[' + b"[]," * 200_000, b"[" + b"1," * 200_000])
def test_a_flood_of_empty_rows_ends_at_the_row_limit(body, decode):
    with pytest.raises(TooLarge):
        decode(body, JSON)


@pytest.mark.parametrize("media_type", [NDJSON, CSV])
def test_a_line_over_the_limit_is_too_large(media_type, rows, decode):
    with pytest.raises(TooLarge, match="line"):
        decode(write(rows, media_type), media_type, limits=Limits(line_limit_bytes=40))


def test_more_csv_fields_than_the_limit_are_too_large(decode):
    with pytest.raises(TooLarge, match="fields"):
        decode(b",".join([b"a"] * 33) + b"\n", CSV)


def test_names_without_escapes_and_with_escapes_are_the_same(rows, decode):
    rows[0]["component"] = 'Förderband "3" \\ 泵'
    for ensure_ascii in (True, False):
        assert from_batch(decode(write_ndjson(rows, ensure_ascii=ensure_ascii), NDJSON).batch) == rows


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)])
def test_integer_epochs_need_a_declared_unit(unit, factor, decode):
    moment = datetime(2026, 11, 20, 10, tzinfo=UTC)
    epoch = int(moment.timestamp()) * factor + (factor // 2)
    expected = moment + timedelta(seconds=0.5 if factor > 1 else 0)
    row = json.loads(ROW) | {"measured_at": epoch}
    bodies = {
        JSON: json.dumps([row]).encode(),
        NDJSON: json.dumps(row).encode(),
        CSV: f"component,metric,measured_at,value\na,m,{epoch},1\n".encode(),
        ARROW: write_arrow(columns(measured_at=pa.array([epoch], pa.int64()))),
        PARQUET: write_parquet(columns(measured_at=pa.array([epoch], pa.int64()))),
    }
    for media_type, body in bodies.items():
        assert from_batch(decode(body, media_type, time_unit=unit).batch)[0]["measured_at"] == expected
        with pytest.raises(Refused):
            decode(body, media_type)
    with pytest.raises(RowsRefused):
        decode(ROW, NDJSON, time_unit=unit)
    body = json.dumps({"component": "a", "metric": "m", "measured_at": [epoch], "value": [1]}).encode()
    assert from_batch(decode(body, JSON, time_unit=unit).batch)[0]["measured_at"] == expected


@pytest.mark.parametrize("epoch", [2**63 - 1, -(2**63), 2**63, 2**70, -(2**70), 10**400, True, 1.5, "5"])
def test_epochs_outside_the_calendar_are_bad_rows(epoch, decode):
    for unit in ("s", "ms", "us"):
        with pytest.raises(RowsRefused):
            decode(json.dumps([json.loads(ROW) | {"measured_at": epoch}]).encode(), JSON, time_unit=unit)


@pytest.mark.parametrize(("unit", "sent"), [("s", 1), ("ms", 1_001), ("us", 1_000_001), ("ns", 1_000_001_999)])
def test_arrow_times_of_any_unit_are_cut_to_microseconds(unit, sent, decode):
    table = columns(measured_at=pa.array([sent], pa.timestamp(unit, "Asia/Tokyo")))
    expected = {"s": 1_000_000, "ms": 1_001_000, "us": 1_000_001, "ns": 1_000_001}[unit]
    assert decode(write_arrow(table), ARROW).batch["measured_at"].cast(pa.int64()).to_pylist() == [expected]


@pytest.mark.parametrize(
    ("between", "is_json"),
    [
        (",", True),
        (", ", True),
        (",\n", True),
        (" ,", True),
        ("\n,\n", True),
        ("\n", False),
        ("", False),
        (",,", False),
        (" ", False),
    ],
)
def test_an_array_is_read_only_with_one_comma_between_rows(between, is_json, decode):
    body = b"[" + between.encode().join([ROW, ROW.replace(b'"a"', b'"b"'), ROW.replace(b'"a"', b'"c"')]) + b"]"
    if is_json:
        assert [row["component"] for row in from_batch(decode(body, JSON).batch)] == ["a", "b", "c"]
    else:
        with pytest.raises(Unreadable):
            decode(body, JSON)


@pytest.mark.parametrize("name", ["},", "{},{", "}", "{", "a},{b", '},\n{"', "[", "]", "},{", "\\", "}]", "[{"])
def test_brackets_inside_names_are_letters(name, decode):
    rows = [json.loads(ROW) | {"component": name}, json.loads(ROW) | {"metric": name}] * 3
    expected = [row["component"] for row in rows]
    for body in (json.dumps(rows), json.dumps(rows, separators=(",", ":"))):
        if "\n" in name:
            with pytest.raises(RowsRefused):
                decode(body.encode(), JSON)
        else:
            assert [row["component"] for row in from_batch(decode(body.encode(), JSON).batch)] == expected


def test_many_small_batches_with_a_large_dictionary_are_refused_before_each_is_validated(decode):
    names = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(["x" * 150] * 60_000))
    table = columns(component=names)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for _ in range(200):
            writer.write_table(table)
    with pytest.raises(TooLarge, match="dictionaries"):
        decode(sink.getvalue().to_pybytes(), ARROW)


def test_an_object_of_a_million_keys_is_refused_at_the_first_few(decode):
    body = b"{" + b",".join(b'"%d":1' % number for number in range(100_000)) + b"}"
    with pytest.raises(Refused, match="keys"):
        decode(body, JSON)
