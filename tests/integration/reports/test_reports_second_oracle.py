"""Whole reports through a lake against the second oracle: look-back, points behind the end, running periods, chunks."""

import random
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pyarrow as pa
import pytest

from gaugehouse.config import Layout, Settings
from gaugehouse.kpi import CATALOGUE
from gaugehouse.lake import Lake
from gaugehouse.measurements.metric import MetricAttributes, MetricKind, StateClass
from gaugehouse.measurements.period import explicit_period
from gaugehouse.measurements.schema import MEASUREMENT_BATCH
from gaugehouse.measurements.selection import from_epoch_us
from gaugehouse.reports import Answer, Limits, Pin, compute_report, digest_result, encode_pin
from gaugehouse.reports.pin import PinnedComponent, PinnedSeries
from unit.kpi.kpi_cases import METRIC_KPIS
from unit.kpi.kpi_second_oracle import DAY_US, SECOND_US, Question, answer

START_US = 20_000 * DAY_US
MINUTE_US = 60 * SECOND_US
SERIES = 60
VALUES = {
    "gauge": (-1.5, 0.0, 0.1, 7.0),
    "delta": (0.0, 1.0, 2.5),
    "state": (0.0, 1.0, 1.0, 2.0, 3.0),
    "counter": (0.0, 5.0, 50.0, 90.0, 95.0, 100.0),
}


def make_question(dice, grid_us, edges_us, now_us):
    kind = dice.choice(sorted(VALUES))
    last = (edges_us[-1] - edges_us[0]) // grid_us + 12
    places = sorted(dice.sample(range(-45, last), dice.choice((0, 1, 5, 12, 40))))
    rows, total = [], 0.0
    for place in places:
        value = dice.choice(VALUES[kind])
        if kind == "counter" and dice.random() < 0.7:
            value = total + dice.choice((0.0, 1.0, 5.0))
        total = value
        quality = dice.choice((0, 0, 0, 0, 0, 1, 2))
        rows.append((START_US + place * grid_us, None if quality == 2 and dice.random() < 0.5 else value, quality))
    return Question(
        rows=rows,
        edges_us=edges_us,
        kind=kind,
        nominal_us=dice.choice((None, grid_us, 2 * grid_us, 5 * grid_us)),
        max_hold_us=dice.choice((None, None, grid_us, 7 * grid_us, 34 * grid_us, 40 * grid_us)),
        rollover_at=dice.choice((None, 100.0)) if kind == "counter" else None,
        max_rate=dice.choice((None, 20.5 * SECOND_US / grid_us)) if kind == "counter" else None,
        classes={1.0: "up", 0.0: "down", 2.0: "planned", 3.0: "idle"},
        now_us=now_us,
        retired_us=dice.choice((None, None, START_US + dice.randint(-2, 30) * grid_us)),
    )


def make_pin(questions, *, as_of):
    """Pin one series per component, with attributes of its own."""
    edges_us, now_us = questions[0].edges_us, questions[0].now_us
    return Pin(
        project="default",
        as_of=as_of,
        asked_at=from_epoch_us(now_us),
        period=explicit_period(from_epoch_us(edges_us[0]), from_epoch_us(edges_us[-1]), timezone="UTC"),
        bucket=None,
        edges_us=pa.array(edges_us).to_numpy(),
        components=tuple(
            PinnedComponent(
                name=name_of(i),
                labels={},
                retired_at=None if one.retired_us is None else from_epoch_us(one.retired_us),
            )
            for i, one in enumerate(questions)
        ),
        series=tuple(
            PinnedSeries(component=name_of(i), metric="m", attributes=describe(one)) for i, one in enumerate(questions)
        ),
        kpis={kind: tuple(name for name in METRIC_KPIS if kind in CATALOGUE[name].kinds) for kind in MetricKind},
        catalogue_version="-",
        tzdata_version="-",
        code_version="-",
    )


def name_of(index):
    return f"c{index:03}"


def describe(question):
    return MetricAttributes(
        kind=MetricKind(question.kind),
        nominal_interval_s=None if question.nominal_us is None else question.nominal_us / SECOND_US,
        max_hold_s=None if question.max_hold_us is None else question.max_hold_us / SECOND_US,
        rollover_at=question.rollover_at,
        max_rate=question.max_rate,
        state_classes={value: StateClass(name) for value, name in question.classes.items()},
    )


def make_batch(rows):
    components, instants, values, qualities = (list(column) for column in zip(*rows, strict=True))
    columns = (components, ["m"] * len(rows), [from_epoch_us(at_us) for at_us in instants], values, qualities)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, MEASUREMENT_BATCH, strict=True)]
    return pa.table(arrays, schema=MEASUREMENT_BATCH)


def fill_lake(lake, questions, dice):
    """Deliver in any order, into files and memory; then what is received too late. Return the moment in between."""
    rows = [(name_of(i), *row) for i, one in enumerate(questions) for row in one.rows]
    dice.shuffle(rows)
    third = len(rows) // 3
    for part in (rows[:third], rows[third : 2 * third], rows[2 * third :]):
        lake.flush()
        as_of = lake.append_measurements("default", make_batch(part)).received_at
    late = [(name_of(i), START_US + place * SECOND_US + 1, 1e6, 0) for i in range(SERIES) for place in (-5, 7, 9_999)]
    lake.append_measurements("default", make_batch(late))
    return as_of


@pytest.mark.parametrize("grid_us", [MINUTE_US, DAY_US])
@pytest.mark.parametrize("now", [1_000, 9, 0])
def test_a_report_through_the_lake_equals_the_second_oracle(grid_us, now, tmp_path):
    dice = random.Random(f"{grid_us} {now}")  # noqa: S311 - not a secret
    edges_us = [START_US + place * grid_us for place in (0, 5, 12, 20)]
    now_us = START_US + now * grid_us
    questions = [make_question(dice, grid_us, edges_us, now_us) for _ in range(SERIES)]
    lake = Lake.open(Layout(tmp_path), Settings(data_dir=tmp_path, segment_age_s=3600))
    try:
        as_of = fill_lake(lake, questions, dice)
        pin = make_pin(questions, as_of=as_of)
        snapshot = lake.pin()
        table = compute_report(snapshot, pin)
        for limits in (Limits(rows=1, cells=1), Limits(rows=100, cells=30)):
            chunked = compute_report(snapshot, pin, limits=limits, threads=2)
            assert chunked.equals(table)
            assert digest_result(encode_pin(pin), Answer(values=chunked)) == digest_result(
                encode_pin(pin), Answer(values=table)
            )
        later = compute_report(snapshot, replace(pin, as_of=as_of + timedelta(days=1)))
        assert later.equals(table) == (now == 0)  # had they been seen, the rows received too late would show
    finally:
        lake.close()
    found = {}
    for row in table.to_pylist():
        found[row["component"], row["bucket_start"], row["kpi"]] = row
    assert len(found) == table.num_rows
    for i, question in enumerate(questions):
        for (begin_us, end_us), expected in zip(pairwise(edges_us), answer(question), strict=True):
            for kpi, (value, status) in expected["kpis"].items():
                row = found.pop((name_of(i), from_epoch_us(begin_us), kpi))
                assert row["bucket_end"] == from_epoch_us(end_us)
                assert row["status"] == status or status is None, row  # None: rounding decides
                assert row["n"] == expected["n"], row
                assert row["value"] == (None if value is None else pytest.approx(float(value), rel=1e-9, abs=1e-6)), row
                assert row["coverage"] == (
                    None if expected["share"] is None else pytest.approx(float(expected["share"]))
                )
    assert not found
