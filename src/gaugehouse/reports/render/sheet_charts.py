"""Native charts of a workbook, each beside the table that it shows: series over time, and the Pareto."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.measurements.schema import TIMESTAMP
from gaugehouse.reports.render.courses import Course
from gaugehouse.reports.render.pareto import rank_causes
from gaugehouse.reports.render.quantities import show_unit
from gaugehouse.reports.render.sheets import Book, Column, instant_columns, type_columns, write_columns

SERIES_PER_CHART = 12  # lines that can still be told apart
PARETO_BARS = 20
LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1F2933")  # Okabe and Ito
LIMIT_COLOR = "#B3401A"
GRID = {"visible": True, "line": {"color": "#D9DEE5"}}


def write_series(book: Book, metric: str, courses: Sequence[Course], all_courses: int, zone: ZoneInfo) -> None:
    """Write the means of a metric, one column per component, with a line chart in which gaps are gaps.

    Args:
        book: Gets a sheet.
        metric: Name.
        courses: Series that are drawn, at least one.
        all_courses: How many there are.
        zone: Whose clocks the chart shows.
    """
    edges_us = np.unique(np.concatenate([one.chart.edges_us[:-1] for one in courses]))
    starts = pl.Series(pa.array(edges_us).cast(TIMESTAMP).to_pylist(), dtype=pl.Datetime("us", "UTC"))
    times = instant_columns("start", starts, zone)
    means = [_spread(one, edges_us) for one in courses]
    limits = [
        Column(title=title, values=pl.Series(np.full(len(edges_us), value)), kind="number")
        for title, value in _find_common_limits(courses).items()
    ]
    sheet = write_columns(book, f"Series {metric}", [*times, *means, *limits])
    chart = book.book.add_chart({"type": "scatter", "subtype": "straight"})
    for place in range(len(means) + len(limits)):
        column = len(times) + place
        chart.add_series(
            {
                "name": [sheet.name, 0, column],
                "categories": [sheet.name, 1, len(times) - 1, len(edges_us), len(times) - 1],
                "values": [sheet.name, 1, column, len(edges_us), column],
                "line": _style_line(place, is_limit=place >= len(means)),
            }
        )
    shown = "" if len(courses) == all_courses else f" (the {len(courses)} worst of {all_courses:,})"
    chart.set_title({"name": f"{metric}{shown}", "name_font": {"size": 12}})
    axis = {"num_format": "d mmm hh:mm", "name": zone.key, "label_position": "low"}
    chart.set_x_axis(axis | _bound_times(times[-1].values))
    chart.set_legend({"position": "bottom"})
    chart.set_y_axis({"name": show_unit(courses[0].chart.unit), "major_gridlines": GRID})
    chart.show_blanks_as("gap")
    chart.set_size({"width": 960, "height": 420})
    sheet.insert_chart(1, len(times) + len(means) + len(limits) + 1, chart)


def _spread(one: Course, edges_us: NDArray[np.int64]) -> Column:
    """Return the means of a series on the times of all series; where it has none, the cell is empty."""
    means = np.full(len(edges_us), np.nan)
    means[np.searchsorted(edges_us, one.chart.edges_us[:-1])] = one.chart.mean
    return Column(title=one.chart.component, values=pl.Series(means), kind="number")


def _style_line(place: int, *, is_limit: bool) -> dict[str, object]:
    color = LIMIT_COLOR if is_limit else LINE_COLORS[place % len(LINE_COLORS)]
    is_dashed = is_limit or place >= len(LINE_COLORS)
    return {"color": color, "width": 1.25} | ({"dash_type": "dash"} if is_dashed else {})


def _find_common_limits(courses: Sequence[Course]) -> dict[str, float]:
    """Return the limits that all series share: others would be lines that belong to nobody."""
    limits = {}
    for title, attribute in (("lower limit", "lsl"), ("upper limit", "usl"), ("target", "target")):
        values = {getattr(one.chart, attribute) for one in courses}
        if len(values) == 1 and None not in values:
            limits[title] = float(values.pop())
    return limits


def _bound_times(times: pl.Series) -> dict[str, object]:
    low, high = times.min(), times.max()
    return {} if low is None or low == high else {"min": low, "max": high}


def write_pareto(book: Book, downtime: pa.Table, zone: ZoneInfo) -> None:
    """Write causes by downtime with their cumulated share, as a table and as a chart; nothing where there are none.

    Args:
        book: Gets a sheet.
        downtime: DOWNTIME.
        zone: Of instants, of which there are none.
    """
    key, causes = rank_causes(downtime)
    if causes.is_empty():
        return
    hours = (pl.col("downtime_s") / 3_600).alias("downtime [h]")
    names = (key, "downtime_s", hours, "occurrences", "share", "cumulated", "most")
    sheet = write_columns(book, "Pareto", type_columns(causes.select(names), zone))
    bars = min(causes.height, PARETO_BARS)
    names_of_causes = [sheet.name, 1, 0, bars, 0]
    columns, line = book.book.add_chart({"type": "column"}), book.book.add_chart({"type": "line"})
    columns.add_series(
        {
            "name": [sheet.name, 0, 2],
            "categories": names_of_causes,
            "values": [sheet.name, 1, 2, bars, 2],
            "fill": {"color": LINE_COLORS[0]},
            "gap": 60,
        }
    )
    line.add_series(
        {
            "name": [sheet.name, 0, 5],
            "categories": names_of_causes,
            "values": [sheet.name, 1, 5, bars, 5],
            "y2_axis": True,
            "line": {"color": LINE_COLORS[1], "width": 1.75},
            "marker": {"type": "circle", "size": 5, "fill": {"color": LINE_COLORS[1]}},
        }
    )
    columns.combine(line)
    columns.set_title({"name": "Downtime, the largest first", "name_font": {"size": 12}})
    # Both axes end at the whole, so that the line touches the first bar.
    columns.set_y_axis({"name": "h", "min": 0, "max": float(causes["downtime_s"].sum()) / 3_600, "num_format": "#,##0"})
    line.set_y2_axis({"min": 0, "max": 1, "num_format": "0%"})
    columns.set_legend({"position": "bottom"})
    columns.set_size({"width": 860, "height": 400})
    sheet.insert_chart(1, 8, columns)
