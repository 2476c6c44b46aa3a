"""What a printed report shows around its values: totals, what is missing, down time, lines with their gaps."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gaugehouse.database.tables import Metric
from gaugehouse.reports import get_pin
from gaugehouse.reports.overview import CHART_POINTS, compute_overview

T0 = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PERIOD = "2026-03-01/2026-03-03"


def minutely(component, metric, values, start=T0):
    return [(component, metric, start + i * MINUTE, float(value)) for i, value in enumerate(values)]


def overview(plant, **question):
    report, values = plant.answer(PERIOD, **question)
    with plant.database.reading() as session:
        pin = get_pin(session, plant.manager, report.id)
    return compute_overview(plant.lake.pin(), pin, threads=2), values, pin


def test_totals_are_the_values_of_the_period_as_one(plant):
    plant.deliver(minutely("pump-1", "flow", range(2880)))
    found, by_day, _ = overview(plant, kpis=("mean", "count"), bucket="day")
    assert by_day.num_rows == 4
    totals = {row["kpi"]: row["value"] for row in found.totals.to_pylist()}
    assert totals == {"mean": pytest.approx(1439.5), "count": 2880}


def test_what_is_missing_is_listed_with_its_reason_the_least_covered_first(plant):
    plant.registry.register("default", ["silent"], [])
    plant.deliver(minutely("pump-1", "flow", range(2880)))
    plant.deliver(minutely("pump-2", "flow", range(1440)))
    plant.deliver([("pump-3", "flow", T0 + i * MINUTE, 1.0, 2) for i in range(2880)])
    found, _, _ = overview(plant, kpis=("mean",))
    told = {row["component"]: row for row in found.missing.to_pylist()}
    assert list(told) == ["pump-3", "silent", "pump-2"]
    assert told["silent"]["metric"] is None
    assert told["pump-3"]["reason"] == "only bad measurements"
    assert told["pump-2"]["coverage"] == pytest.approx(0.5, abs=0.01)
    assert told["pump-2"]["longest_gap_s"] == pytest.approx(1440 * 60, abs=61)


def test_down_time_is_told_by_state_the_longest_first(plant):
    states = [1] * 600 + [0] * 120 + [1] * 600 + [5] * 60 + [1] * 60 + [5] * 90 + [1] * 1350
    plant.deliver(minutely("press", "state", states))
    with plant.database.transaction() as session:
        session.query(Metric).filter(Metric.name == "state").update(
            {"kind": "state", "state_classes": {"1": "up", "0": "down", "5": "down"}}
        )
    found, _, _ = overview(plant)
    rows = [tuple(row.values()) for row in found.downtime.to_pylist()]
    assert rows == [("press", "state = 5", 9000.0, 2), ("press", "state = 0", 7200.0, 1)]


def test_a_line_has_gaps_where_nothing_was_measured(plant):
    plant.deliver(minutely("pump-1", "flow", range(1440)))
    plant.deliver(minutely("pump-1", "flow", range(720), start=T0 + timedelta(hours=36)))
    found, _, pin = overview(plant, kpis=("mean",))
    (line,) = found.lines
    assert line.mean.shape == (CHART_POINTS,)
    assert (found.edges_us[0], found.edges_us[-1]) == (pin.edges_us[0], pin.edges_us[-1])
    gap = slice(CHART_POINTS // 2 + 1, CHART_POINTS * 3 // 4 - 1)
    assert np.isnan(line.mean[gap]).all()
    assert (line.coverage[gap] == 0).all()
    drawn = ~np.isnan(line.mean)
    assert drawn.mean() == pytest.approx(0.75, abs=0.02)
    assert (line.minimum[drawn] <= line.mean[drawn] + 1e-9).all()
    assert (line.mean[drawn] <= line.maximum[drawn] + 1e-9).all()


def test_an_empty_lake_has_an_overview_too(plant):
    plant.registry.register("default", ["pump-1"], [])
    found, _, _ = overview(plant)
    assert (found.missing.num_rows, found.downtime.num_rows, found.lines) == (1, 0, ())
