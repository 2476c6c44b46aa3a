"""Real data: messages of three devices every few seconds, against independently computed reference numbers."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gaugehouse.measurements.schema import MEASUREMENT_BATCH

FILE = Path(__file__).parents[4] / "shared" / "data" / "iot_device_messages" / "raw_data_xlarge.parquet"
HOUR = "2020-07-13T01:00:00Z/2020-07-13T02:00:00Z"

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not FILE.exists(), reason="the shared data are not beside the project"),
]

# "Windowed spot check: temp, hour 2020-07-13 01:00 to 02:00 UTC" of REFERENCE.md: n, mean, max, p95
SPOTS = {
    "iot-device-01": (580, 18.879655, 19.1, 19.1),
    "iot-device-02": (574, 26.16568, 26.299999, 26.299999),
    "iot-device-03": (976, 21.957787, 22.5, 22.4),
}
MEDIAN_STEPS_S = {"iot-device-01": 5.4279, "iot-device-02": 5.9429, "iot-device-03": 3.6861}
WORDS = "the nominal interval is not set: estimated from the data"


def read_temperatures():
    return (
        pl.read_parquet(FILE)
        .select(
            component=pl.col("device"),
            metric=pl.lit("temp"),
            measured_at=(pl.col("ts") * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC")),
            value=pl.col("data").struct.field("temp"),
            quality=pl.lit(0, pl.UInt8),
        )
        .to_arrow()
        .cast(MEASUREMENT_BATCH)
    )


def test_the_hour_of_the_reference_and_intervals_that_nobody_set(plant, engine_name):
    if engine_name != "sqlite":
        pytest.skip("the numbers do not depend on the database")
    rows = read_temperatures()
    plant.registry.register("default", sorted(SPOTS), ["temp"])
    receipt = plant.lake.append_measurements("default", rows)
    assert (receipt.accepted, receipt.duplicates + receipt.conflicts.num_rows) == (rows.num_rows - 1, 1)
    kpis = ("count", "mean", "max", "p95", "completeness", "coverage")
    _, table = plant.answer(HOUR, kpis=kpis)
    found = {}
    for row in table.to_pylist():
        found.setdefault(row["component"], {})[row["kpi"]] = row
    assert sorted(found) == sorted(SPOTS)
    for device, (n, mean, high, p95) in SPOTS.items():
        values = {kpi: row["value"] for kpi, row in found[device].items()}
        assert values["count"] == n
        assert values["mean"] == pytest.approx(mean, abs=5e-7)
        assert values["max"] == pytest.approx(high, abs=5e-7)
        assert values["p95"] == pytest.approx(p95, abs=5e-7)
        # The median step of the period and what lies before it: less than two hours of the day of the reference.
        expected = 100 * n / (3600 / estimate_interval_s(rows, device))
        assert values["completeness"] == pytest.approx(min(100, expected), rel=1e-12)
        assert [found[device][kpi]["reason"] for kpi in ("completeness", "coverage")] == [WORDS, WORDS]


def estimate_interval_s(rows, device):
    """Return the median step from the first message to the end of the hour; near the one of the whole day."""
    frame = pl.from_arrow(rows).filter(pl.col("component") == device).unique("measured_at").sort("measured_at")
    until_2 = frame.filter(pl.col("measured_at") < pl.datetime(2020, 7, 13, 2, time_zone="UTC"))["measured_at"]
    interval_s = float(np.median(np.diff(until_2.cast(pl.Int64).to_numpy()))) / 1e6
    assert interval_s == pytest.approx(MEDIAN_STEPS_S[device], rel=0.2)
    return interval_s
