"""The digest depends on the pin and the values, and on nothing else."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from gaugehouse.reports.digest import digest_result, format_number
from gaugehouse.reports.result import GROUPED, RESULT, Answer

T0 = datetime(2026, 3, 1, tzinfo=UTC)
PIN = {"project": "default", "edges": [0, [[86_400, 2]]], "period": {"start_us": 0}}


def row(**changes):
    return {
        "component": "pump-1",
        "metric": "temperature",
        "kpi": "mean",
        "bucket_start": T0,
        "bucket_end": T0 + timedelta(days=1),
        "value": 1.25,
        "unit": "°C",
        "coverage": 1.0,
        "n": 3,
        "status": "ok",
        "reason": None,
    } | changes


def digest(pin, values, **more):
    return digest_result(pin, Answer(values=values, **more))


def table(*rows):
    return pa.Table.from_pylist(list(rows), schema=RESULT)


ROWS = [
    row(),
    row(kpi="max", value=2.0),
    row(component="pump-0"),
    row(bucket_start=T0 + timedelta(days=1)),
    row(metric=None),
]


def test_the_order_and_the_batches_of_rows_do_not_matter():
    whole = table(*ROWS)
    parts = pa.concat_tables([table(one) for one in reversed(ROWS)])
    assert digest(PIN, whole) == digest(PIN, parts)


def test_the_last_bits_of_a_value_do_not_matter():
    assert digest(PIN, table(row(value=0.1 + 0.2))) == digest(PIN, table(row(value=0.3)))


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 1.25000000001},
        {"value": None},
        {"value": -1.25},
        {"coverage": 0.5},
        {"n": 4},
        {"status": "partial"},
        {"reason": "no step"},
        {"unit": "K"},
        {"bucket_end": T0 + timedelta(hours=25)},
        {"metric": "null"},
    ],
)
def test_any_other_difference_shows(changes):
    assert digest(PIN, table(row())) != digest(PIN, table(row(**changes)))


def test_tables_that_were_asked_for_too_are_part_of_it():
    one = {"group": "line A", "components": 2} | {name: row()[name] for name in RESULT.names if name != "component"}
    values = table(*ROWS)
    grouped = [pa.Table.from_pylist([one | {"value": value}], schema=GROUPED) for value in (1.0, 2.0)]
    digests = {digest(PIN, values), *(digest(PIN, values, groups=groups) for groups in grouped)}
    assert len(digests) == 3


def test_another_pin_shows():
    assert digest(PIN, table(row())) != digest(PIN | {"project": "other"}, table(row()))
    reordered = dict(reversed(PIN.items()))
    assert digest(PIN, table(row())) == digest(reordered, table(row()))


def test_the_digest_is_64_hexadecimal_digits_and_stays_what_it_was():
    text = digest(PIN, table(*ROWS))
    assert len(text) == 64
    assert text == "18f2b95ec4f1d8b12de50e40461f131e078ed4f20f842fbcbae1d90aed6ca3e0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (None, None),
        (float("nan"), None),
        (1.0, "1"),
        (1 / 3, "0.333333333333"),
        (-1e300, "-1e+300"),
        (123456789012345.0, "1.23456789012e+14"),
        (5e-324, "4.94065645841e-324"),
    ],
)
def test_numbers_are_written_with_twelve_digits(value, text):
    assert format_number(value) == text
