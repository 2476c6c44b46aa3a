"""The demo fleet: reproducible, as big as promised, as dirty as reality, and honest about it."""

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from gaugehouse.demo import dirt, signals
from gaugehouse.demo.fleet import BATCH_ROWS, FleetPlan, floor_to_interval
from gaugehouse.demo.plant import ROLLOVER_AT, TYPES
from gaugehouse.errors import Refused
from gaugehouse.measurements.metric import MetricKind, StateClass
from gaugehouse.measurements.schema import EVENT_BATCH, MEASUREMENT_BATCH
from gaugehouse.measurements.selection import to_epoch_us

NOW = datetime(2026, 11, 20, 23, 17, 5, tzinfo=UTC)
KEY = ["component", "metric", "measured_at"]


@dataclass(frozen=True)
class Delivered:
    """A plan, all it delivers, and the same rows with the first of each key only."""

    plan: FleetPlan
    batches: list[pa.Table]
    rows: pl.DataFrame
    first: pl.DataFrame


def deliver(plan: FleetPlan, now: datetime = NOW) -> Delivered:
    batches = list(plan.deliveries(now))
    frame = pl.from_arrow(pa.concat_tables(batches)).with_columns(pl.col("component", "metric").cast(pl.String))
    rows = frame.with_row_index("arrival")
    return Delivered(plan, batches, rows, rows.unique(KEY, keep="first", maintain_order=True))


@pytest.fixture(scope="module")
def default() -> Delivered:
    return deliver(FleetPlan())


@pytest.fixture(scope="module")
def small() -> Delivered:
    return deliver(FleetPlan(component_count=8, days=20, interval_s=900, seed=7))


def digest(batches) -> str:
    sink = hashlib.sha256()
    for batch in batches:
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_stream(buffer, batch.schema) as writer:
            writer.write_table(batch)
        sink.update(buffer.getvalue())
    return sink.hexdigest()


def series(frame: pl.DataFrame, component: str, metric: str) -> pl.DataFrame:
    return frame.filter((pl.col("component") == component) & (pl.col("metric") == metric)).sort("measured_at")


def test_the_same_plan_and_now_give_the_same_bytes():
    plan = FleetPlan(component_count=12, days=5, interval_s=600, seed=3)
    assert digest(plan.deliveries(NOW)) == digest(plan.deliveries(NOW))
    assert digest([plan.events(NOW)]) == digest([plan.events(NOW)])
    assert plan.components() == plan.components()
    assert plan.metrics() == plan.metrics()


def test_now_counts_only_in_whole_intervals():
    plan = FleetPlan(component_count=4, days=2, interval_s=600)
    floored = floor_to_interval(NOW, interval_s=600)
    assert floored == datetime(2026, 11, 20, 23, 10, tzinfo=UTC)
    assert digest(plan.deliveries(NOW)) == digest(plan.deliveries(floored))


def test_another_seed_is_another_plant():
    one, two = (FleetPlan(component_count=8, days=2, seed=seed) for seed in (1, 2))
    assert digest(one.deliveries(NOW)) != digest(two.deliveries(NOW))


def test_a_gauge_does_not_depend_on_how_the_period_is_cut_into_windows(monkeypatch, small):
    monkeypatch.setattr("gaugehouse.demo.fleet.WINDOW_ROWS", 3_000)
    again = deliver(small.plan)
    assert again.rows.sort([*KEY, "arrival"]).drop("arrival").equals(small.rows.sort([*KEY, "arrival"]).drop("arrival"))


def test_default_plan_has_about_a_million_rows_and_ten_thousand_of_each_component(default):
    assert 1_000_000 <= len(default.rows) <= 1_150_000
    per_component = default.first.group_by("component").len()
    assert len(per_component) == 100
    assert per_component["len"].min() >= 10_000


@pytest.mark.parametrize("seed", range(2, 5))
def test_other_seeds_also_have_ten_thousand_of_each_component(seed):
    per_component = deliver(FleetPlan(seed=seed)).first.group_by("component").len()
    assert per_component["len"].min() >= 10_000


def test_a_million_rows_are_generated_in_seconds():
    begun_s = time.process_time()
    rows = sum(len(batch) for batch in FleetPlan().deliveries(NOW))
    assert rows >= 1_000_000
    assert time.process_time() - begun_s < 5  # about 0.7 s on an idle machine


def test_batches_have_the_schema_and_size_the_lake_wants(default):
    assert all(batch.schema.equals(MEASUREMENT_BATCH) for batch in default.batches)
    assert max(len(batch) for batch in default.batches) <= BATCH_ROWS
    for batch in default.batches[:2]:
        batch.validate(full=True)


def test_measurements_end_now_and_cover_the_period(default):
    last = floor_to_interval(NOW, interval_s=default.plan.interval_s)
    assert default.rows["measured_at"].max() == last
    first = last - timedelta(days=default.plan.days) + timedelta(seconds=default.plan.interval_s)
    assert timedelta(0) <= first - default.rows["measured_at"].min() < timedelta(seconds=5)
    newest = default.first.group_by("component").agg(pl.col("measured_at").max())
    assert (newest["measured_at"] > last - timedelta(hours=12)).all()


@pytest.mark.parametrize("plan", [FleetPlan(), FleetPlan(component_count=8, days=20, interval_s=900, seed=7)])
def test_expected_counts_are_exact(plan):
    delivered = deliver(plan)
    expected = plan.expected(NOW)
    paired = delivered.rows.join(delivered.first, on=KEY, suffix="_first")
    again = paired.filter(pl.col("arrival") != pl.col("arrival_first"))
    is_same = pl.col("value").eq_missing(pl.col("value_first")) & (pl.col("quality") == pl.col("quality_first"))
    assert expected.rows == len(delivered.rows)
    assert expected.distinct == len(delivered.first)
    assert expected.duplicates == len(again.filter(is_same)) > 50
    assert expected.conflicts == len(again.filter(~is_same))
    assert 10 <= expected.conflicts <= dirt.CONFLICTS


def test_every_value_is_finite_or_null_with_bad_quality(default):
    values = default.rows["value"]
    assert values.is_nan().sum() == 0
    assert values.is_infinite().sum() == 0
    assert default.rows.filter(pl.col("value").is_null() != (pl.col("quality") == 2)).is_empty()
    assert 100 <= values.null_count() <= 2_000
    assert 300 <= len(default.rows.filter(pl.col("quality") == 1)) <= 3_000


def test_one_line_is_silent_for_hours_while_the_others_are_not(default):
    line_of = {component.name: component.line for component in default.plan.components()}
    lines = pl.DataFrame({"component": list(line_of), "line": list(line_of.values())})
    times = default.first.join(lines, on="component").select("line", "measured_at").unique().sort("line", "measured_at")
    gaps = times.group_by("line").agg(pl.col("measured_at").diff().max().alias("longest"))
    silent = gaps.filter(pl.col("longest") >= timedelta(hours=8))
    assert len(gaps) == 5
    assert len(silent) == 1
    lost = pl.from_arrow(default.plan.events(NOW)).filter(pl.col("kind").cast(pl.String) == "connection_lost")
    assert len(lost) == len(lines.filter(pl.col("line") == silent["line"][0]))


def test_single_components_have_gaps_of_a_few_intervals(small):
    name = "pump-001"
    interval = timedelta(seconds=small.plan.interval_s)
    steps = series(small.first, name, "temperature")["measured_at"].diff().drop_nulls()
    missing = steps.filter(steps > interval + timedelta(seconds=2))
    assert len(missing) >= 2
    assert len(missing) < len(steps) / 10


def test_deliveries_arrive_late_and_out_of_order(small):
    behind = small.first.sort("arrival").with_columns(
        newest=pl.col("measured_at").cum_max().over("component", "metric"),
    )
    late = behind.select(late=pl.col("newest") - pl.col("measured_at"), component="component")
    assert len(late.filter(pl.col("late") > timedelta(0))) > 100
    overall = small.first.sort("arrival").with_columns(newest=pl.col("measured_at").cum_max())
    waited = overall.select((pl.col("newest") - pl.col("measured_at")).max()).item()
    assert waited > timedelta(hours=3)  # buffered by a radio sensor


def test_arrival_is_otherwise_by_time(default):
    ordered = default.rows["measured_at"].cum_max() - default.rows["measured_at"]
    assert (ordered <= timedelta(minutes=30)).mean() > 0.97


def test_a_sensor_is_stuck_for_hours(default):
    hot = default.first.filter((pl.col("metric") == "temperature") & pl.col("value").is_not_null())
    runs = hot.sort("component", "measured_at").with_columns(run=pl.struct("component", "value").rle_id())
    lengths = runs.group_by("run").agg(
        pl.col("component").first(), span=pl.col("measured_at").max() - pl.col("measured_at").min()
    )
    stuck = lengths.filter(pl.col("span") >= timedelta(hours=8))
    assert 1 <= len(stuck) <= dirt.STUCK_SENSORS


def counted(delivered: Delivered, metric: str) -> pl.DataFrame:
    rows = delivered.first.filter((pl.col("metric") == metric) & pl.col("value").is_not_null())
    return rows.sort("component", "measured_at").with_columns(step=pl.col("value").diff().over("component"))


def test_parts_counters_rise_except_at_weekly_resets_and_one_rollover(default):
    rows = counted(default, "parts_total").with_columns(previous=pl.col("value") - pl.col("step"))
    falls = rows.filter(pl.col("step") < 0)
    is_rollover = (pl.col("previous") >= 0.9 * ROLLOVER_AT) & (pl.col("component") == "conveyor-001")
    assert len(falls.filter(is_rollover)) == 1
    resets = falls.filter(~is_rollover)
    assert len(resets) >= 50
    assert resets["measured_at"].dt.weekday().is_in([1]).mean() > 0.95  # a gap may hide the Monday morning
    assert "conveyor-001" not in resets["component"].to_list()
    assert rows.filter(pl.col("component") == "conveyor-001")["value"].max() < ROLLOVER_AT


def test_counters_count_whole_parts_without_losing_any_in_gaps(default):
    rows = counted(default, "parts_total")
    assert (rows["value"] == rows["value"].round(0)).all()
    steepest = rows.with_columns(
        elapsed_s=pl.col("measured_at").diff().over("component").dt.total_seconds(),
    ).filter(pl.col("step") > 0)
    assert (steepest["step"] <= 2.0 * steepest["elapsed_s"]).all()  # below max_rate: no credible step is a glitch


def test_energy_meters_never_fall(default):
    rows = counted(default, "energy_kwh")
    assert rows["step"].drop_nulls().min() >= 0
    assert rows["step"].max() > 0


def test_machines_run_stop_idle_and_are_maintained(default):
    state = default.first.filter((pl.col("metric") == "running") & pl.col("value").is_not_null())
    shares = dict(state.group_by("value").len().with_columns(pl.col("len") / len(state)).iter_rows())
    assert set(shares) == {0.0, 1.0, 2.0, 3.0}
    assert shares[1.0] > 0.7
    assert 0.002 < shares[0.0] < 0.05
    idle = state.filter(pl.col("value") == 3)["component"].unique()
    assert all(name.startswith("conveyor") for name in idle)


def test_gauges_follow_the_day_and_the_week(default):
    hot = default.first.filter((pl.col("metric") == "power") & pl.col("component").str.starts_with("compressor"))
    by_hour = dict(hot.group_by(pl.col("measured_at").dt.hour()).agg(pl.col("value").mean()).iter_rows())
    by_day = dict(hot.group_by(pl.col("measured_at").dt.weekday()).agg(pl.col("value").mean()).iter_rows())
    assert by_hour[16] > 1.3 * by_hour[4]
    assert by_day[2] > 1.3 * by_day[7]


def test_limits_hold_most_values_but_not_all(default):
    limits = {
        (metric.component, metric.name): metric.attributes for metric in default.plan.metrics() if metric.component
    }
    for name in ("temperature", "vibration"):
        rows = default.first.filter((pl.col("metric") == name) & pl.col("value").is_not_null())
        usl = rows["component"].replace_strict(
            {component: own.usl for (component, key), own in limits.items() if key == name}
        )
        share = (rows["value"] > usl).mean()
        assert 0.0005 < share < 0.05, name
    temperatures = [own for (_, key), own in limits.items() if key == "temperature"]
    assert len(temperatures) == 100
    assert all(own.lsl < own.target < own.usl for own in temperatures)


def test_metrics_carry_kind_unit_interval_states_and_modulus():
    metrics = FleetPlan().metrics()
    general = {metric.name: metric.attributes for metric in metrics if metric.component is None}
    assert general["parts_total"].kind is MetricKind.COUNTER
    assert general["parts_total"].rollover_at is None
    assert [m.component for m in metrics if m.attributes.rollover_at == ROLLOVER_AT] == ["conveyor-001"]
    assert general["running"].state_classes[2.0] is StateClass.PLANNED
    assert general["running"].state_classes[3.0] is StateClass.IDLE
    assert general["temperature"].nominal_interval_s == 1_800
    assert general["battery_level"].nominal_interval_s == 4 * 3_600
    assert general["temperature"].unit == "Cel"


def test_nominal_interval_is_the_median_step_of_each_metric(default):
    general = {m.name: m.attributes.nominal_interval_s for m in default.plan.metrics() if m.component is None}
    steps = default.first.sort("component", "metric", "measured_at").with_columns(
        step_s=pl.col("measured_at").diff().over("component", "metric").dt.total_milliseconds() / 1000
    )
    medians = dict(steps.group_by("metric").agg(pl.col("step_s").median()).iter_rows())
    assert medians.keys() == general.keys()
    assert all(abs(medians[name] - general[name]) < 2 for name in general)


def test_components_have_realistic_unique_names_types_and_several_lines():
    components = FleetPlan().components()
    names = [component.name for component in components]
    assert len(set(names)) == 100
    assert "pump-017" in names
    assert {component.type for component in components} == set(TYPES)
    assert {component.line for component in components} == {f"line-{number}" for number in range(1, 6)}
    assert all(component.title and component.labels and component.attributes for component in components)


def test_names_stay_unique_in_a_plant_of_thousands():
    names = [component.name for component in FleetPlan(component_count=5_000, days=1).components()]
    assert len(set(names)) == 5_000
    assert "pump-2000" in names


def test_battery_and_signal_strength_exist_only_on_radio_sensors(default):
    radio = {c.name for c in default.plan.components() if c.labels["connection"] == "wireless"}
    for metric, lowest, highest in (("battery_level", 0, 100), ("rssi", -110, -40)):
        rows = default.first.filter((pl.col("metric") == metric) & pl.col("value").is_not_null())
        assert set(rows["component"]) == radio
        assert lowest <= rows["value"].min() <= rows["value"].max() <= highest


def test_events_are_canonical_ordered_and_inside_the_period(default):
    events = default.plan.events(NOW)
    assert events.schema.equals(EVENT_BATCH)
    events.validate(full=True)
    frame = pl.from_arrow(events)
    assert frame["occurred_at"].is_sorted()
    assert frame["occurred_at"].max() <= NOW
    assert {"failure", "alarm", "maintenance", "firmware", "connection_lost"} <= set(frame["kind"].cast(pl.String))
    for body, body_hash in frame.select("body", "body_hash").iter_rows():
        assert body == json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert body_hash == hashlib.blake2b(body.encode(), digest_size=16).digest()
    assert frame.select(pl.struct("component", "kind", "occurred_at", "body").is_duplicated().any()).item() is False


def test_a_failure_event_and_the_stopped_state_agree(default):
    failures = pl.from_arrow(default.plan.events(NOW)).filter(pl.col("kind").cast(pl.String) == "failure")
    state = default.first.filter((pl.col("metric") == "running") & pl.col("value").is_not_null())
    down = state.filter(pl.col("value") == 0).select("component", "measured_at")
    assert len(down) > 200
    starts = {}
    for component, at, body in failures.select(pl.col("component").cast(pl.String), "occurred_at", "body").iter_rows():
        length = timedelta(minutes=json.loads(body)["expected_duration_min"] + 1)
        starts.setdefault(component, []).append((at, at + length))
    first = state["measured_at"].min() + timedelta(hours=9)  # a failure may have begun before the period
    for component, at in down.iter_rows():
        assert at < first or any(begin - timedelta(seconds=3) <= at <= end for begin, end in starts[component])


@pytest.mark.parametrize(
    "plan",
    [
        FleetPlan(component_count=1, days=0.05),
        FleetPlan(component_count=1, days=1 / 86_400, interval_s=1),
        FleetPlan(component_count=3, days=3, interval_s=86_400),
        FleetPlan(component_count=250, days=0.02, interval_s=1, seed=99),
    ],
)
def test_odd_sizes_work_and_count_right(plan):
    delivered = deliver(plan)
    expected = plan.expected(NOW)
    assert (expected.rows, expected.distinct) == (len(delivered.rows), len(delivered.first))


@pytest.mark.parametrize(
    "sizes",
    [{"component_count": 0}, {"days": 0}, {"days": float("nan")}, {"interval_s": 0}, {"days": 0.001}, {"days": 9e9}],
)
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(Refused):
        FleetPlan(**sizes)


def test_a_plan_before_the_epoch_is_refused():
    with pytest.raises(Refused):
        next(FleetPlan(days=40).deliveries(datetime(1970, 2, 1, tzinfo=UTC)))


def test_noise_is_centred_and_independent_of_its_neighbours():
    bases = signals.stream_bases(1, 42, np.arange(50))
    noise = signals.gaussian(signals.cell_bits(bases, np.arange(10_000)))
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs(np.corrcoef(noise[0, :-1], noise[0, 1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.05


def test_weeks_begin_on_monday():
    at_s = np.array([to_epoch_us(datetime(2026, 11, day, tzinfo=UTC)) // 1_000_000 for day in range(16, 23)])
    assert signals.weekday(at_s).tolist() == [0, 1, 2, 3, 4, 5, 6]
