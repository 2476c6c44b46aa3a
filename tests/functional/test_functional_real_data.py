"""Two files of real measurements, imported by the command line and compared over HTTP with independent numbers."""

from datetime import UTC, datetime

import polars as pl
import pytest

from functional.installation import REPOSITORY, ask_report
from functional.rows import read_answer

SHARED_DATA = REPOSITORY.parent / "shared" / "data"
BEIJING = SHARED_DATA / "beijing_air_quality"
DEVICES = SHARED_DATA / "iot_device_messages"

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (BEIJING.exists() and DEVICES.exists()), reason="the real measurements are not beside the project"
    ),
]
BEIJING_OPTIONS = [
    "--component-column",
    "station",
    "--time-column",
    "year=year,month=month,day=day,hour=hour",
    "--timezone",
    "UTC+8",
]
KPIS = {"count": "n_non_null", "mean": "mean", "min": "min", "max": "max", "median": "p50", "p95": "p95"}
# Windowed spot checks of REFERENCE.md: period, stations, n, mean, min, max, p95
WINDOWS = [
    ("2016-12", ["Dongsi"], 741, 150.005398, 3.0, 558.0, 429.0),
    ("2016-12-20", ["Dongsi"], 24, 405.083333, 291.0, 490.0, 478.55),
    ("2014-01", ["Aotizhongxin"], 738, 95.716802, 3.0, 538.0, 259.3),
    ("2015", ["Huairou"], 8601, 70.654622, 3.0, 762.0, 220.0),
]


def only_file(folder):
    [path] = folder.glob("*.parquet")
    return path


def read_reference(folder):
    """Return the reference numbers per (component, metric)."""
    frame = pl.read_csv(folder / "reference_by_component.csv", infer_schema_length=None)
    return frame.filter(pl.col("component") != "ALL")


def last_numbers(stdout, name):
    """Return rows, measurements, accepted, duplicates, conflicts and empty cells of the summary's line."""
    line = next(line for line in stdout.splitlines() if name in line)
    return [int(text.replace(",", "")) for text in line.split()[-6:]]


@pytest.fixture(scope="module")
def station(found):
    """A server with both files; and what the import said."""
    installation = found({"GAUGEHOUSE_TOKEN_LIFETIME_S": "7200"}, workers=1).start()
    installation.said = {
        BEIJING: installation.run_well("import", only_file(BEIJING), *BEIJING_OPTIONS, timeout_s=600),
        DEVICES: installation.run_well("import", only_file(DEVICES), timeout_s=600),
    }
    yield installation
    installation.stop()


@pytest.fixture(scope="module")
def manager(station):
    return station.sign_in("max")


def read_summary(client, components):
    rows = read_answer(client.get("/v1/summary", params={"component": components, "format": "arrow"}))
    return {(row["component"], row["metric"]): row for row in rows}


def read_values(client, **question):
    """Ask for a report; return {(component, metric, kpi): value}."""
    state = ask_report(client, **question)
    result = read_answer(client.get(f"/v1/reports/{state['id']}/result", params={"format": "arrow"}))
    return {(row["component"], row["metric"], row["kpi"]): row["value"] for row in result}


def test_four_years_of_beijing_air_are_4556243_measurements_in_the_summary(station, manager):
    rows, measurements, accepted, duplicates, conflicts, empty = last_numbers(station.said[BEIJING], "prsa")
    assert (rows, measurements, accepted, duplicates, conflicts) == (420_768, 4_556_243, 4_556_243, 0, 0)
    assert empty == 72_205
    reference = read_reference(BEIJING)
    summary = read_summary(manager, ",".join(reference["component"].unique()))
    assert sum(row["n"] for row in summary.values()) == 4_556_243
    assert len(summary) == reference.height == 132
    for row in reference.to_dicts():
        found = summary[row["component"], row["metric"]]
        assert (found["n"], found["min"], found["max"]) == (row["n_non_null"], row["min"], row["max"])
        assert found["mean"] == pytest.approx(row["mean"], rel=1e-9, abs=1e-12)
    pm25 = [row for (_, metric), row in summary.items() if metric == "PM2.5"]
    n = sum(row["n"] for row in pm25)
    assert sum(row["n"] * row["mean"] for row in pm25) / n == pytest.approx(79.793428, abs=5e-7)
    assert min(row["first_measured_at"] for row in pm25) == datetime(2013, 2, 28, 16, tzinfo=UTC)


def test_a_report_about_all_of_beijing_has_every_reference_number(station, manager):
    reference = read_reference(BEIJING)
    values = read_values(
        manager,
        period="2013-03-01T00:00:00+08:00/2017-03-01T00:00:00+08:00",
        components=sorted(reference["component"].unique()),
        kpis=list(KPIS),
    )
    assert len(values) == 132 * len(KPIS)
    for row in reference.to_dicts():
        for kpi, column in KPIS.items():
            found = values[row["component"], row["metric"], kpi]
            assert found == pytest.approx(row[column], rel=1e-9, abs=1e-9), (row["component"], row["metric"], kpi)


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_follow_the_calendar_of_shanghai(window, manager):
    period, stations, n, mean, low, high, p95 = window
    values = read_values(
        manager,
        period=period,
        timezone="Asia/Shanghai",
        components=stations,
        metrics=["PM2.5"],
        kpis=["count", "mean", "min", "max", "p95"],
    )
    found = {kpi: value for (_, _, kpi), value in values.items()}
    assert (found["count"], found["min"], found["max"]) == (n, low, high)
    assert found["mean"] == pytest.approx(mean, abs=5e-7)
    assert found["p95"] == pytest.approx(p95, abs=1e-9)


def read_devices():
    """Return the messages in long form, of a repeated key the first one only; and how many values that leaves out."""
    frame = pl.read_parquet(only_file(DEVICES)).unnest("data").with_columns(pl.col("light", "motion").cast(pl.Float64))
    metrics = ["co", "humidity", "light", "lpg", "motion", "smoke", "temp"]
    long = frame.unpivot(metrics, index=["device", "ts"], variable_name="metric", value_name="value")
    kept = long.unique(["device", "ts", "metric"], keep="first", maintain_order=True)
    return kept, long.height - kept.height


def test_device_messages_are_stored_once_and_match_the_reference(station, manager):
    kept, repeated = read_devices()
    rows, measurements, accepted, duplicates, conflicts, _ = last_numbers(station.said[DEVICES], "raw_data")
    assert (rows, measurements, accepted, duplicates + conflicts) == (50_270, 351_890, kept.height, repeated)
    assert repeated == 7
    reference = read_reference(DEVICES)
    devices = sorted(reference["component"].unique())
    summary = read_summary(manager, ",".join(devices))
    repeated_device = "iot-device-02"
    for row in reference.to_dicts():
        found = summary[row["component"], row["metric"]]
        assert (found["min"], found["max"]) == (row["min"], row["max"])
        if row["component"] != repeated_device:
            assert found["n"] == row["n_non_null"]
            assert found["mean"] == pytest.approx(row["mean"], rel=1e-9, abs=1e-12)
        else:
            ours = kept.filter(pl.col("device") == row["component"], pl.col("metric") == row["metric"])
            assert found["n"] == ours.height == row["n_non_null"] - 1
            assert found["mean"] == pytest.approx(ours["value"].cast(pl.Float64).mean(), rel=1e-9)
    values = read_values(
        manager,
        period="2020-07-13T01:00:00Z/2020-07-13T02:00:00Z",
        components=devices,
        metrics=["temp"],
        kpis=["count", "mean", "max", "p95"],
    )
    for device, n, mean, high, p95 in [
        ("iot-device-01", 580, 18.879655, 19.1, 19.1),
        ("iot-device-02", 574, 26.16568, 26.299999, 26.299999),
        ("iot-device-03", 976, 21.957787, 22.5, 22.4),
    ]:
        found = [values[device, "temp", kpi] for kpi in ("count", "mean", "max", "p95")]
        assert found == pytest.approx([n, mean, high, p95], abs=1e-6)


def test_importing_again_changes_nothing(station):
    stdout = station.run_well("import", only_file(DEVICES), timeout_s=600)
    kept, repeated = read_devices()
    _, measurements, accepted, duplicates, conflicts, _ = last_numbers(stdout, "raw_data")
    assert (accepted, duplicates + conflicts) == (0, measurements)
    assert conflicts <= repeated
    assert duplicates >= kept.height
