"""The two real files, compared with the reference numbers that were computed by other means."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from gaugehouse.ingest import ColumnMapping, FileSummary, read_file

SHARED_DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def read_shared():
    def call(folder, mapping):
        found = sorted((SHARED_DATA / folder).glob("*.parquet"))
        if not found:
            pytest.skip(f"the real measurements are not beside the project (shared/data/{folder})")
        summary = FileSummary()
        tables = list(read_file(found[0], mapping, summary=summary))
        return pl.DataFrame(pa.concat_tables(tables).unify_dictionaries()), summary

    return call


def compare_with_reference(frame, folder):
    """Compare count, mean, extremes and quantiles of every (component, metric) and of every metric."""
    reference = pl.read_csv(SHARED_DATA / folder / "reference_by_component.csv", infer_schema_length=None)
    frame = frame.with_columns(pl.col("component", "metric").cast(pl.String))
    both = pl.concat([frame, frame.with_columns(component=pl.lit("ALL"))])
    ours = both.group_by("component", "metric").agg(
        pl.len().alias("ours_n"),
        pl.col("value").mean().alias("ours_mean"),
        pl.col("value").min().alias("ours_min"),
        pl.col("value").max().alias("ours_max"),
        pl.col("value").quantile(0.5, "linear").alias("ours_p50"),
        pl.col("value").quantile(0.95, "linear").alias("ours_p95"),
    )
    joined = reference.join(ours, on=["component", "metric"], how="full")
    assert len(joined) == len(reference) == len(ours)
    assert joined["ours_n"].to_list() == joined["n_non_null"].to_list()
    for fact in ("mean", "min", "max", "p50", "p95"):
        assert joined[f"ours_{fact}"].to_list() == pytest.approx(joined[fact].to_list(), rel=1e-9, abs=1e-12)


def test_four_years_of_beijing_air_are_4556243_measurements(read_shared):
    frame, summary = read_shared("beijing_air_quality", ColumnMapping(timezone="UTC+8"))
    assert (len(frame), summary.measurements, summary.null_cells) == (4_556_243, 4_556_243, 72_205)
    assert (frame["component"].n_unique(), frame["metric"].n_unique()) == (12, 11)
    assert set(summary.skipped_columns) == {"No", "wd"}
    assert summary.first_at == datetime(2013, 2, 28, 16, tzinfo=UTC)
    assert summary.last_at == datetime(2017, 2, 28, 15, tzinfo=UTC)
    assert frame.filter(pl.col("metric") == "PM2.5")["value"].mean() == pytest.approx(79.793428, abs=5e-7)
    assert frame.select("component", "metric", "measured_at").is_duplicated().sum() == 0
    compare_with_reference(frame, "beijing_air_quality")


def test_a_utc_day_of_beijing_air_is_not_the_local_day(read_shared):
    frame, _ = read_shared("beijing_air_quality", ColumnMapping(timezone="UTC+8", metric_columns=["PM2.5"]))
    dongsi = frame.filter(pl.col("component") == "Dongsi")

    def mean(start, end):
        return dongsi.filter(pl.col("measured_at").is_between(start, end, closed="left"))["value"].mean()

    utc_day = mean(datetime(2016, 12, 20, tzinfo=UTC), datetime(2016, 12, 21, tzinfo=UTC))
    local_day = mean(datetime(2016, 12, 19, 16, tzinfo=UTC), datetime(2016, 12, 20, 16, tzinfo=UTC))
    assert (utc_day, local_day) == (pytest.approx(387.541667, abs=5e-7), pytest.approx(405.083333, abs=5e-7))


def test_device_messages_have_times_to_the_microsecond_and_one_repeated_key(read_shared):
    frame, summary = read_shared("iot_device_messages", ColumnMapping())
    assert len(frame) == 50_270 * 7
    assert summary.first_at == datetime(2020, 7, 13, 0, 0, 24, 502334, tzinfo=UTC)
    assert summary.last_at == datetime(2020, 7, 14, 0, 4, 30, 381223, tzinfo=UTC)
    last = frame.group_by(pl.col("component").cast(pl.String)).agg(pl.col("measured_at").max()).sort("component")
    assert [f"{moment:%H:%M:%S.%f}" for moment in last["measured_at"]] == [
        "00:04:27.528918",
        "00:04:15.841159",
        "00:04:30.381223",
    ]
    assert len(frame) - frame.select("component", "metric", "measured_at").n_unique() == 7
    compare_with_reference(frame, "iot_device_messages")
