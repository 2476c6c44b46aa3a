"""The numbers of a report against plain Python over the same rows, and their digits against files and threads."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import update

from gaugehouse.config import Layout, Settings
from gaugehouse.database.tables import Metric, ReportRevision
from gaugehouse.lake import Lake, open_snapshot
from gaugehouse.measurements.schema import MEASUREMENT_BATCH
from gaugehouse.reports import Answer, Limits, compute_report, decode_pin, digest_result, encode_pin

S = datetime(2026, 3, 27, 23, tzinfo=UTC)  # local midnight in Berlin; the second of the four days has 23 hours
E = datetime(2026, 3, 31, 22, tzinfo=UTC)
DAYS = [S, S + timedelta(hours=24), S + timedelta(hours=47), S + timedelta(hours=71), E]
PERIOD = "2026-03-28/2026-04-01"
NOMINAL_S = {"temperature": 60.0, "running": 300.0, "parts_total": 300.0, "count": 600.0}
KINDS = {"temperature": "gauge", "running": "state", "parts_total": "counter", "count": "delta"}
MODULUS = 1000.0


def make_rows(seed, components=("conveyor-1", "chiller-Ü", "pump-2")):
    """Irregular rows with gaps, bad rows and nulls, from two days before the period to a day behind it."""
    rng = np.random.default_rng(seed)
    rows = []
    for component, (metric, nominal_s) in product(components, NOMINAL_S.items()):
        t_s = -2 * 86_400.0 + rng.uniform(0, nominal_s)
        total = float(rng.integers(0, 1000))
        while t_s < 5 * 86_400:
            if metric == "parts_total":
                total = (total + rng.integers(0, 40)) % MODULUS
            value = {
                "temperature": rng.normal(20, 5),
                "running": float(rng.choice([0, 1, 1, 1, 7])),
                "parts_total": total,
                "count": float(rng.integers(0, 9)),
            }[metric]
            quality = int(rng.choice([0, 0, 0, 0, 0, 0, 0, 0, 1, 2])) if metric != "parts_total" else 0
            measured_at = S + timedelta(microseconds=round(t_s * 1e6))
            rows.append(
                (component, metric, measured_at, None if quality == 2 and rng.random() < 0.5 else value, quality)
            )
            t_s += nominal_s * rng.uniform(0.8, 1.2)
            if rng.random() < 0.01:
                t_s += nominal_s * rng.uniform(1, 200)  # a gap, sometimes longer than the max hold
    return rows


def is_point(row):
    return row[4] != 2 and row[3] is not None


def find_holds(rows, start, end, hold_s):
    """Yield (value, held seconds inside [start, end)): each value stands until the next row, at most hold_s."""
    for row, following in pairwise([*rows, None]):
        if not is_point(row):
            continue
        stands_until = row[2] + timedelta(seconds=hold_s)
        if following is not None:
            stands_until = min(stands_until, following[2])
        held_s = (min(stands_until, end) - max(row[2], start)).total_seconds()
        if held_s > 0:
            yield row[3], held_s


def find_steps(rows, start, end):
    """Return the increase of a counter with modulus: steps whose later point lies inside."""
    points = [row for row in rows if is_point(row)]
    increase, steps = 0.0, 0
    for before, after in pairwise(points):
        if start <= after[2] < end:
            steps += 1
            increase += (after[3] - before[3]) % MODULUS
    return increase, steps


def expect(metric, rows, start, end):
    """Return what each KPI of one series and bucket must be."""
    hold_s = 3 * NOMINAL_S[metric]
    inside = [row[3] for row in rows if is_point(row) and start <= row[2] < end]
    holds = list(find_holds(rows, start, end, hold_s))
    covered_s = math.fsum(held for _, held in holds)
    length_s = (end - start).total_seconds()
    expected = {
        "count": len(inside),
        "coverage": 100 * covered_s / length_s,
        "completeness": 100 * min(1.0, len(inside) / (length_s / NOMINAL_S[metric])),
    }
    if inside:
        expected |= {
            "min": min(inside),
            "max": max(inside),
            "mean": np.mean(inside),
            "std": np.std(inside, ddof=1),
            "median": np.quantile(inside, 0.5),
            "p05": np.quantile(inside, 0.05),
            "p95": np.quantile(inside, 0.95),
            "first": inside[0],
            "last": inside[-1],
            "change": inside[-1] - inside[0],
        }
    if metric == "count":
        expected["total"] = math.fsum(inside)
    else:
        expected["time_weighted_mean"] = math.fsum(v * held for v, held in holds) / covered_s
    if metric == "parts_total":
        expected["counter_increase"], _ = find_steps(rows, start, end)
    if metric == "running":
        up_s = math.fsum(held for v, held in holds if v == 1)
        down_s = math.fsum(held for v, held in holds if v == 0)
        expected |= {
            "uptime": up_s,
            "downtime": down_s,
            "availability": 100 * up_s / (up_s + down_s),
            "unknown_time": length_s - up_s - down_s,
        }
    return expected


def describe_metrics(plant):
    plant.registry.register("default", [], list(KINDS))
    with plant.database.transaction() as session:
        for metric, kind in KINDS.items():
            values = {"kind": kind, "nominal_interval_s": NOMINAL_S[metric], "unit": "u"}
            if kind == "counter":
                values["rollover_at"] = MODULUS
            session.execute(update(Metric).where(Metric.name == metric).values(**values))


ALL_KPIS = (
    "count", "min", "max", "mean", "std", "median", "p05", "p95", "first", "last", "change", "total",
    "time_weighted_mean", "completeness", "coverage", "counter_increase", "rate", "availability", "uptime", "downtime",
    "unknown_time",
)  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_every_kpi_equals_the_oracle_in_every_bucket(plant, seed):
    rows = make_rows(seed)
    describe_metrics(plant)
    order = np.random.default_rng(seed).permutation(len(rows))
    for part in np.array_split(order, 5):  # late and out of order, in several files
        plant.deliver([rows[i] for i in part])
        plant.lake.flush()
    _, table = plant.answer(PERIOD, timezone="Europe/Berlin", bucket="day", kpis=ALL_KPIS)
    found = {}
    for row in table.to_pylist():
        found.setdefault((row["component"], row["metric"], row["bucket_start"]), {})[row["kpi"]] = row
    keys = sorted({row[:2] for row in rows})
    assert sorted(found) == sorted((*key, day) for key in keys for day in DAYS[:-1])
    for component, metric in keys:
        series = sorted((row for row in rows if row[:2] == (component, metric)), key=lambda row: row[2])
        for start, end in pairwise(DAYS):
            cells = found[component, metric, start]
            expected = expect(metric, series, start, end)
            assert {row["bucket_end"] for row in cells.values()} == {end}
            assert {row["n"] for row in cells.values()} == {expected["count"]}
            for kpi, value in expected.items():
                if metric == "parts_total" and kpi == "counter_increase":
                    continue  # checked below, with the kernel's own view of resets
                assert cells[kpi]["value"] == pytest.approx(value, rel=1e-9, abs=1e-9), (metric, kpi, start)
            assert cells["mean"]["coverage"] == pytest.approx(expected["coverage"] / 100, rel=1e-9)


def test_a_counter_with_a_reset_a_rollover_and_a_border_step(plant):
    describe_metrics(plant)
    values = [10, 50, 100, 160, 200, 950, 20, 60]  # 950 -> 20 is a rollover: 70
    rows = [("press", "parts_total", S + timedelta(hours=i - 3), float(v), 0) for i, v in enumerate(values)]
    plant.deliver(rows)
    _, table = plant.answer(PERIOD, timezone="Europe/Berlin", kpis=("counter_increase", "rate"))
    increase = 60 + 40 + 750 + 70 + 40
    assert table["value"].to_pylist() == [increase, pytest.approx(increase / (5 * 3600))]


def test_the_last_step_of_a_counter_is_judged_by_what_comes_behind_the_end(plant):
    plant.registry.register("default", [], ["n"])
    with plant.database.transaction() as session:
        session.execute(update(Metric).values(kind="counter", nominal_interval_s=3600.0))
    at = [E + timedelta(hours=hours) for hours in (-3, -2, -1, 24 * 50, 24 * 60)]
    plant.deliver([("a", "n", t, float(v)) for t, v in zip(at, [100, 101, 3, 102, 103], strict=True)])  # 3: a dip
    plant.deliver([("b", "n", t, float(v)) for t, v in zip(at, [100, 101, 3, 4, 5], strict=True)])  # 3: a reset
    plant.deliver([("c", "n", t, float(v)) for t, v in zip(at[:3], [100, 101, 3], strict=True)])  # nobody knows yet
    _, table = plant.answer(PERIOD, timezone="Europe/Berlin", kpis=("counter_increase",))
    assert [(row["value"], row["status"]) for row in table.to_pylist()] == [
        (1.0, "partial"),  # no reading before the start
        (4.0, "partial"),
        (1.0, "partial"),
    ]
    assert table["reason"].to_pylist()[2] != table["reason"].to_pylist()[0]


def test_the_value_before_the_start_is_carried_in(plant):
    describe_metrics(plant)
    plant.deliver([("a", "temperature", S - timedelta(seconds=60), 7.0), ("a", "temperature", E, 9.0)])
    _, table = plant.answer(PERIOD, timezone="Europe/Berlin", kpis=("time_weighted_mean", "coverage"))
    assert table["value"].to_pylist() == [7.0, pytest.approx(100 * 120 / (95 * 3600))]


def test_the_same_pin_gives_the_same_digest_in_any_layout_on_any_number_of_threads(plant, tmp_path):
    rows = make_rows(7)
    describe_metrics(plant)
    plant.deliver(rows)
    report, table = plant.answer(PERIOD, timezone="Europe/Berlin", bucket="hour", kpis=ALL_KPIS)
    with plant.database.reading() as session:
        pin = decode_pin(session.get(ReportRevision, (report.id, 1)).pin)
    pin = replace(pin, as_of=pin.as_of + timedelta(days=1))  # the other lakes receive the same rows a little later
    digests, values = set(), set()
    shuffled = np.random.default_rng(0).permutation(len(rows))
    layouts = {"one file": [range(len(rows))], "few": np.array_split(shuffled, 3), "many": np.array_split(shuffled, 11)}
    for name, parts in layouts.items():
        snapshot = build_lake(tmp_path / name, rows, parts)
        for threads, limits in product((1, 2, 4), (Limits(), Limits(rows=2000, cells=300))):
            result = compute_report(snapshot, pin, threads=threads, limits=limits)
            digests.add(digest_result(encode_pin(pin), Answer(values=result)))
            values.add(result["value"].to_numpy(zero_copy_only=False).tobytes())
    assert digests == {digest_result(encode_pin(pin), Answer(values=table))}
    assert values == {table["value"].to_numpy(zero_copy_only=False).tobytes()}  # to the last bit, here


def test_reading_less_of_what_was_before_changes_no_digit(plant, monkeypatch):
    rows = make_rows(11)
    describe_metrics(plant)
    plant.deliver(rows)
    _, table = plant.answer(PERIOD, timezone="Europe/Berlin", bucket="hour", kpis=ALL_KPIS)
    monkeypatch.setattr("gaugehouse.reports.compute._find_known_hold", lambda _attributes: None)
    _, with_all = plant.answer(PERIOD, timezone="Europe/Berlin", bucket="hour", kpis=ALL_KPIS)
    assert table.equals(with_all)


def build_lake(folder, rows, parts):
    """Return a snapshot of a lake with one file per part."""
    layout = Layout(folder)
    lake = Lake.open(layout, Settings(data_dir=folder, segment_age_s=3600))
    for part in parts:
        columns = list(zip(*(rows[i] for i in part), strict=True))
        arrays = [pa.array(column, field.type) for column, field in zip(columns, MEASUREMENT_BATCH, strict=True)]
        lake.append_measurements("default", pa.table(arrays, schema=MEASUREMENT_BATCH))
        lake.flush()
    lake.close()
    return open_snapshot(layout.lake_dir)
