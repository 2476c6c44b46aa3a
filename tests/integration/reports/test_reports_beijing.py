"""Real data: hourly PM2.5 of twelve stations over four years, against independently computed reference numbers."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import update

from gaugehouse.database.tables import Metric
from gaugehouse.measurements.schema import MEASUREMENT_BATCH
from gaugehouse.measurements.selection import Selection
from gaugehouse.query import read_buckets, read_measurements, summarize

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "beijing_air_quality"
FILE = FOLDER / "prsa_2013-03_2017-02.parquet"
LOCAL = "Asia/Shanghai"
CHINA = timezone(timedelta(hours=8))

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not FILE.exists(), reason="the shared data are not beside the project"),
]

EVERY_STATION = (
    *("Aotizhongxin", "Changping", "Dingling", "Dongsi", "Guanyuan", "Gucheng"),
    *("Huairou", "Nongzhanguan", "Shunyi", "Tiantan", "Wanliu", "Wanshouxigong"),
)
UTC_DAY = "2016-12-20T00:00:00Z/2016-12-21T00:00:00Z"
FIRST_HOUR = "2013-03-01T00:00:00+08:00/2013-03-01T01:00:00+08:00"
# Each row of "Windowed spot checks" of REFERENCE.md:
# period, stations, rows, n, availability %, mean, min, max, p95, hours > 75
SPOTS = [
    ("2016-12", ("Dongsi",), 744, 741, 99.5968, 150.005398, 3.0, 558.0, 429.0, 433),
    ("2016-12-20", ("Dongsi",), 24, 24, 100.0, 405.083333, 291.0, 490.0, 478.55, 24),
    (UTC_DAY, ("Dongsi",), 24, 24, 100.0, 387.541667, 291.0, 476.0, 454.95, 24),
    ("2014-01", ("Aotizhongxin",), 744, 738, 99.1935, 95.716802, 3.0, 538.0, 259.3, 361),
    ("2015", ("Huairou",), 8760, 8601, 98.1849, 70.654622, 3.0, 762.0, 220.0, 2915),
    ("2014", EVERY_STATION, 105_120, 102_260, 97.2793, 85.5757, 3.0, 809.0, 251.0, 44_041),
    (FIRST_HOUR, EVERY_STATION, 12, 12, 100.0, 5.666667, 3.0, 9.0, 9.0, 0),
]
KPIS = ("count", "mean", "min", "max", "p95", "completeness", "last")


def read_pm25():
    """Return PM2.5 in the schema of a batch, missing hours left out."""
    frame = pl.read_parquet(FILE, columns=["year", "month", "day", "hour", "PM2.5", "station"])
    rows = (
        frame.drop_nulls("PM2.5")
        .select(
            component=pl.col("station"),
            metric=pl.lit("PM2.5"),
            measured_at=pl.datetime(
                "year", "month", "day", "hour", time_zone="Asia/Shanghai", time_unit="us"
            ).dt.convert_time_zone("UTC"),
            value=pl.col("PM2.5").cast(pl.Float64),
            quality=pl.lit(0, pl.UInt8),
        )
        .to_arrow()
    )
    return rows.cast(MEASUREMENT_BATCH)


@pytest.fixture
def beijing(plant, engine_name):
    """Four years of PM2.5, in the plant's lake."""
    if engine_name != "sqlite":
        pytest.skip("the numbers do not depend on the database")
    rows = read_pm25()
    plant.registry.register("default", rows["component"].unique().to_pylist(), ["PM2.5"])
    with plant.database.transaction() as session:
        session.execute(update(Metric).values(unit="ug/m3", nominal_interval_s=3600.0))
    for start in range(0, rows.num_rows, 100_000):
        plant.lake.append_measurements("default", rows.slice(start, 100_000))
    return plant


def test_reports_and_reads_match_the_reference_numbers(beijing):
    for spot in SPOTS:
        assert_spot_matches(beijing, spot)
    assert_reads_match(beijing)


def assert_spot_matches(plant, spot):
    period, stations, rows, n, availability, mean, low, high, p95, above_75 = spot
    report, table = plant.answer(period, timezone=LOCAL, components=stations, kpis=KPIS)
    assert table.num_rows == len(stations) * len(KPIS)
    found = {kpi: table.filter(pc.equal(table["kpi"], kpi))["value"].to_numpy() for kpi in KPIS}
    counts = found["count"]
    assert counts.sum() == n
    assert (counts * found["mean"]).sum() / n == pytest.approx(mean, abs=5e-7)
    assert (found["min"].min(), found["max"].max()) == (low, high)
    assert found["completeness"] == pytest.approx(100 * counts / (rows / len(stations)))
    assert found["completeness"].mean() == pytest.approx(availability, abs=5e-5)
    values = read_values(plant, report, stations)
    assert np.quantile(values, 0.95) == pytest.approx(p95, abs=1e-9)  # of all stations together, which no report is
    assert (values > 75).sum() == above_75
    if len(stations) == 1:
        assert found["p95"].tolist() == pytest.approx([p95], abs=1e-9)
        assert above_75_in_hours(plant, period, stations) == above_75
    if period == FIRST_HOUR:
        assert sorted(found["last"]) == sorted(values)


def read_values(plant, report, stations):
    selection = Selection(
        project="default", components=stations, start=report.period_start, end=report.period_end, as_of=report.as_of
    )
    return plant.lake.pin().load_series(selection).value


def above_75_in_hours(plant, period, stations):
    """Count the hours above 75 in the hourly buckets of a report."""
    _, table = plant.answer(period, timezone=LOCAL, components=stations, kpis=("max",), bucket="hour")
    return sum(value is not None and value > 75 for value in table["value"].to_pylist())


def assert_reads_match(plant):
    snapshot = plant.lake.pin()
    whole = summarize(snapshot, Selection(project="default"))
    n, mean = whole["n"].to_numpy(), whole["mean"].to_numpy()
    assert n.sum() == 412_029
    assert (n * mean).sum() / n.sum() == pytest.approx(79.793428, abs=5e-7)
    assert (min(whole["min"].to_pylist()), max(whole["max"].to_pylist())) == (2.0, 999.0)
    dongsi = Selection(
        project="default",
        components=("Dongsi",),
        start=datetime(2016, 12, 1, tzinfo=CHINA),
        end=datetime(2017, 1, 1, tzinfo=CHINA),
    )
    days = read_buckets(
        snapshot, dongsi, every="day", aggregates=["mean", "count", "min", "max"], timezone=LOCAL
    ).read_all()
    the_20th = days.slice(19, 1).to_pylist()[0]
    assert the_20th["bucket_start"] == datetime(2016, 12, 19, 16, tzinfo=UTC)
    assert the_20th["mean"] == pytest.approx(405.083333, abs=5e-7)
    assert (the_20th["count"], the_20th["min"], the_20th["max"]) == (24, 291.0, 490.0)
    month = read_buckets(snapshot, dongsi, every="month", aggregates=["count", "mean"], timezone=LOCAL).read_all()
    assert month["count"].to_pylist() == [741]
    assert month["mean"][0].as_py() == pytest.approx(150.005398, abs=5e-7)
    assert read_pages(snapshot, dongsi) == read_measurements(snapshot, dongsi).reader.read_all()


def read_pages(snapshot, selection):
    cursor, pages = None, []
    while cursor is not None or not pages:
        page = read_measurements(snapshot, selection, limit=100, cursor=cursor)
        pages.append(page.reader.read_all())
        cursor = page.next_cursor
    return pa.concat_tables(pages)
