"""Charts: gaps stay gaps, extremes survive, nothing of a user enters a picture."""

import json
import re
from datetime import timedelta
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.reports.render import Chart, ReportFormat, charts, render
from gaugehouse.reports.render.charts import ParetoBar, draw_panel, draw_pareto, fit_frame
from gaugehouse.reports.render.quantities import DEFAULT_STYLE
from gaugehouse.reports.render.ticks import find_time_axis
from unit.reports.sample_report import BERLIN, HOSTILE, PERIOD, SILENT, plant_report

REPORT = plant_report()
START_US = to_epoch_us(PERIOD.start)
HOUR_US = 3_600_000_000
SIZE = (310, 140)


def chart_of(mean, *, coverage=None, **changes):
    mean = np.array(mean, np.float64)
    edges_us = START_US + np.arange(len(mean) + 1, dtype=np.int64) * HOUR_US
    share = np.where(np.isfinite(mean), 1.0, 0.0) if coverage is None else np.array(coverage, np.float64)
    fields = {"minimum": mean - 1, "mean": mean, "maximum": mean + 1, "coverage": share}
    return Chart(component="a", metric="b", unit="", edges_us=edges_us, **(fields | changes))


def frame_of(*drawn):
    return fit_frame(REPORT, drawn, find_time_axis(PERIOD, BERLIN), DEFAULT_STYLE, SIZE)


def rows_of(chart, points=360):
    columns = charts._thin(chart, START_US, points)
    return charts._rows_of_line(columns), charts._rows_of_gaps(columns)


def test_runs_of_data_are_lines_of_their_own_and_end_with_their_last_bucket():
    line, gaps = rows_of(chart_of([1, 2, np.nan, np.nan, 5, np.nan]))
    hours = [(row["run"], row["x"] / 3_600, row["y"]) for row in line]
    assert hours == [(0, 0, 1), (0, 1, 2), (0, 2, 2), (2, 4, 5), (2, 5, 5)]
    assert [(gap["x"] / 3_600, gap["x2"] / 3_600) for gap in gaps] == [(2, 4), (5, 6)]


def test_a_silent_series_is_one_gap():
    line, gaps = rows_of(chart_of([np.nan] * 5))
    assert line == []
    assert gaps == [{"x": 0.0, "x2": 5 * 3_600.0}]


@pytest.mark.parametrize("points", [1, 7, 360, 5_000])
def test_thinning_keeps_extremes_the_covered_mean_and_the_bounds(points):
    rng = np.random.default_rng(1)
    mean = rng.normal(50, 5, 5_000)
    mean[1_000:1_400] = np.nan
    chart = chart_of(mean, coverage=np.where(np.isfinite(mean), rng.uniform(0.2, 1, 5_000), 0))
    columns = charts._thin(chart, START_US, points)
    assert len(columns.mean) <= points
    assert (columns.start_s[0], columns.end_s[-1]) == (0, 5_000 * 3_600)
    assert np.array_equal(columns.end_s[:-1], columns.start_s[1:])
    assert np.nanmin(columns.minimum) == np.nanmin(chart.minimum)
    assert np.nanmax(columns.maximum) == np.nanmax(chart.maximum)
    weight = columns.coverage * (columns.end_s - columns.start_s)
    known = np.isfinite(mean)
    assert np.nansum(columns.mean * weight) / weight[np.isfinite(columns.mean)].sum() == pytest.approx(
        np.average(mean[known], weights=chart.coverage[known])
    )


def test_a_limit_near_the_data_is_drawn_and_one_far_away_does_not_flatten_them():
    chart = chart_of([50, 60, 55], usl=63.0, lsl=-4_000.0)
    frame = frame_of(chart)
    assert frame.value.low > 0
    assert frame.value.high >= 63
    assert [row["label"] for row in charts._rows_of_limits(chart, frame.value, DEFAULT_STYLE)] == ["USL 63"]


@pytest.mark.parametrize("mean", [[np.nan] * 3, [5.0] * 3, [0.0], [1e300, -1e300], [1e-12, 2e-12]])
def test_any_course_can_be_drawn(mean):
    chart = chart_of(mean)
    ET.fromstring(draw_panel(chart, frame_of(chart), DEFAULT_STYLE))  # noqa: S314 - drawn by us


def test_a_panel_shows_line_band_gaps_limits_and_coverage():
    chart = next(one for one in REPORT.charts if one.component == "mill-01" and one.metric == "temperature")
    svg = draw_panel(chart, frame_of(chart), DEFAULT_STYLE)
    root = ET.fromstring(svg)  # noqa: S314 - drawn by us
    classes = " ".join(element.get("class", "") for element in root.iter())
    for name in ("gaps", "band", "mean", "limits", "words_above", "halo_above", "words_below", "lacks"):
        assert f"{name}_marks" in classes, name
    words = ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")]
    assert {"USL 80", "LSL 55", "target 68", "26\xa0Oct", "2\xa0Nov"} <= set(words)


def test_ticks_stand_at_local_midnights_over_the_change_of_clocks():
    chart = chart_of([1.0] * 505)
    svg = draw_panel(chart, frame_of(chart), DEFAULT_STYLE)
    ticks = [float(x) for x in re.findall(r"role-axis-tick.*?translate\(([\d.]+),", svg, flags=re.DOTALL)[:1]]
    assert ticks  # the axis is there; where its ticks are is tested with the axis
    axis = find_time_axis(PERIOD, BERLIN)
    local = [(PERIOD.start + timedelta(seconds=seconds)).astimezone(BERLIN) for seconds in axis.ticks]
    assert {(one.hour, one.minute) for one in local} == {(0, 0)}


def test_no_text_of_users_is_in_a_picture_and_nothing_is_loaded_or_run():
    hostile = [one for one in REPORT.charts if one.component in (*HOSTILE, SILENT)]
    frame = frame_of(*hostile)
    for chart in hostile:
        svg = draw_panel(chart, frame, DEFAULT_STYLE)
        assert chart.component not in svg
        assert not re.search(r"<script|<image|<foreignObject|\son\w+=|javascript:|@import|<style|\sstyle=", svg)
        assert set(re.findall(r'https?://[^"\s]+', svg)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }


def test_pictures_are_the_same_each_time():
    chart = REPORT.charts[0]
    frame = frame_of(chart)
    assert draw_panel(chart, frame, DEFAULT_STYLE) == draw_panel(chart, frame, DEFAULT_STYLE)


def test_a_pareto_has_a_bar_per_rank_and_shares_up_to_a_hundred():
    bars = [ParetoBar(rank=1, amount=8.0, cumulated=0.8), ParetoBar(rank=2, amount=2.0, cumulated=1.0)]
    svg = draw_pareto(bars, 10.0, DEFAULT_STYLE, (640, 190))
    words = re.findall(r">([^<>]+)</text>", svg)
    assert {"1", "2", "downtime [h]", "8.0\xa0h", "share of all downtime", "100\xa0%"} <= set(words)


def test_a_specification_that_names_an_address_loads_nothing():
    design = json.dumps(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "data": {"url": "https://example.invalid/x.json"},
            "mark": "point",
            "encoding": {},
        }
    )
    with pytest.raises(ValueError, match=r"example\.invalid|not allowed|denied|External|base"):
        charts._draw(design, {})


def test_charts_of_the_json_are_not_thinned():
    assert json.loads(render(REPORT, ReportFormat.JSON))["charts"][0]["mean"].__len__() == 505
