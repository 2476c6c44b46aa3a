"""From the question to the result, through lake, database and jobs."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gaugehouse.reports import RESULT

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def hourly(component, metric, values, start=T0):
    return [(component, metric, start + timedelta(hours=i), float(v)) for i, v in enumerate(values)]


def cells(table, *names):
    return {
        tuple(row[name] for name in names): row["value"]
        for row in table.select([*names, "value"]).to_pylist()
    }


def test_a_report_is_asked_computed_and_read(plant):
    rng = np.random.default_rng(1)
    values = {name: rng.normal(20, 3, 31 * 24) for name in ("pump-1", "pump-2")}
    for name, series in values.items():
        plant.deliver(hourly(name, "temperature", series))
    asked = plant.ask(kpis=("mean", "max", "count"))
    assert (asked.status, asked.progress_percent, asked.digest) == ("queued", 0, None)
    report, table = plant.answer(kpis=("mean", "max", "count"))
    assert table.schema.equals(RESULT)
    assert (report.result_rows, report.progress_percent, report.doing) == (6, 100, "")
    found = cells(table, "component", "kpi")
    for name, series in values.items():
        assert found[name, "mean"] == pytest.approx(series.mean(), rel=1e-12)
        assert found[name, "max"] == series.max()
        assert found[name, "count"] == 744
    assert set(table["status"].to_pylist()) == {"ok"}
