"""Lights: what is red, amber, green, and what is not judged for which reason."""

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.reports.render.document import COMPARISON, TARGETS, Judging, KpiDefinition
from gaugehouse.reports.render.traffic import LIGHT_WORDS, Light, build_board, count_lights, judge
from unit.reports.sample_report import SILENT, bare_report, plant_report, rows_table


def light_of(value, *, target=None, lower=None, upper=None, up=None, coverage=1.0, judges_data=False):
    row = {
        "value": value, "coverage": coverage, "target": target, "lower": lower, "upper": upper,
        "higher_is_better": up, "judges_data": judges_data,
    }  # fmt: skip
    schema = {name: pl.Boolean if name in {"higher_is_better", "judges_data"} else pl.Float64 for name in row}
    return pl.DataFrame([row], schema=schema).select(judge(Judging()).alias("light"))["light"][0]


@pytest.mark.parametrize(
    ("light", "value", "wanted"),
    [
        ("green", 96, {"target": 95, "up": True}),
        ("green", 95, {"target": 95, "up": True}),
        ("amber", 94, {"target": 95, "up": True}),
        ("red", 90, {"target": 95, "up": True}),
        ("amber", 90, {"target": 95, "lower": 85, "up": True}),
        ("red", 84.9, {"target": 95, "lower": 85, "up": True}),
        ("green", 4, {"target": 5, "up": False}),
        ("amber", 5.2, {"target": 5, "up": False}),
        ("red", 6, {"target": 5, "up": False}),
        ("green", 0, {"target": 0, "up": False}),
        ("red", 1, {"target": 0, "up": False}),
        ("green", 20.5, {"target": 20}),
        ("amber", 21.5, {"target": 20}),
        ("red", 23, {"target": 20}),
        ("green", 17, {"target": 20, "lower": 16, "upper": 24}),
        ("red", 15, {"target": 20, "lower": 16, "upper": 24}),
        ("green", 70, {"lower": 60, "upper": 80}),
        ("amber", 79.5, {"lower": 60, "upper": 80}),
        ("red", 80.5, {"lower": 60, "upper": 80}),
        ("amber", 61, {"lower": 60}),
        ("green", 64, {"lower": 60}),
        ("green", -10, {"upper": -5}),
        (None, 96, {}),
    ],
)
def test_lights(light, value, wanted):
    assert light_of(value, **wanted) == light


def test_what_has_no_value_or_is_hardly_covered_is_grey():
    assert light_of(None, target=95, up=True) == "grey"
    assert light_of(20, target=95, up=True, coverage=0.49) == "grey"
    assert light_of(20, target=95, up=True, coverage=0.5) == "red"
    assert light_of(20, target=95, up=True, coverage=None) == "red"


def test_low_coverage_is_the_result_of_a_kpi_about_data():
    assert light_of(20, target=95, up=True, coverage=0.2, judges_data=True) == "red"


numbers = st.floats(min_value=-1e6, max_value=1e6)


@given(value=numbers, target=numbers, up=st.booleans())
def test_more_is_never_worse_where_more_is_better(value, target, up):
    order = ["red", "amber", "green"]
    better = value + 1 if up else value - 1
    assert order.index(light_of(better, target=target, up=up)) >= order.index(light_of(value, target=target, up=up))


def test_every_light_has_its_own_word():
    assert set(LIGHT_WORDS) == set(Light)
    assert len(set(LIGHT_WORDS.values())) == len(Light)


def test_the_board_keeps_every_total_in_its_order_with_what_is_said_of_it():
    document = plant_report()
    board = build_board(document)
    keys = board.select("component", "metric", "kpi").rows()
    assert keys == list(
        zip(*(document.totals[name].to_pylist() for name in ("component", "metric", "kpi")), strict=True)
    )
    row = board.filter(component="press-01", kpi="availability").to_dicts()[0]
    assert (row["title"], row["target"], row["lower"], row["higher_is_better"]) == ("Availability", 95.0, 85.0, True)
    assert row["difference"] == pytest.approx(row["value"] - row["previous"])
    silent = board.filter(component=SILENT, kpi="availability").to_dicts()[0]
    assert (silent["light"], silent["grey_reason"]) == ("grey", "no measurement in the period")


def test_grey_says_how_little_is_covered():
    row = build_board(plant_report()).filter(component="press-03", kpi="availability").to_dicts()[0]
    assert row["grey_reason"] == "data cover only 42 % of the time"


def test_a_component_without_any_metric_is_joined_too():
    totals = plant_report().totals
    unknown = totals.slice(0, 1).set_column(1, totals.schema.field("metric"), pa.nulls(1, pa.string()))
    key = (totals["component"][0].as_py(), None, totals["kpi"][0].as_py())
    target = rows_table([(*key, 1.0, None, None)], TARGETS)
    board = build_board(bare_report(totals=unknown, values=unknown, targets=target))
    assert board["target"].to_list() == [1.0]


def test_two_targets_or_comparisons_for_one_value_do_not_double_it():
    document = bare_report()
    row = document.totals.select(["component", "metric", "kpi"]).to_pylist()[0]
    targets = rows_table([(*row.values(), 1.0, None, None), (*row.values(), 2.0, None, None)], TARGETS)
    compared = rows_table([(*row.values(), 1.0, 2.0, -1.0, -50.0, None)] * 2, COMPARISON)
    board = build_board(bare_report(targets=targets, comparison=compared))
    assert board.height == document.totals.num_rows
    assert board["target"][0] == 1.0


def test_a_kpi_without_definition_keeps_its_name_as_title():
    board = build_board(bare_report(kpis=(KpiDefinition(name="mean", title="Mean", unit="", formula="", source=""),)))
    assert set(board["title"]) >= {"Mean", "availability"}


def test_lights_are_counted_worst_first():
    counts = count_lights(build_board(plant_report()))
    assert list(counts) == list(Light)
    assert sum(counts.values()) == plant_report().targets.num_rows
    assert all(count > 0 for count in counts.values())
    assert sum(count_lights(build_board(bare_report())).values()) == 0
