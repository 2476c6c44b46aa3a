"""The charts: per metric the course of its series as small multiples with shared axes, the worst series first."""

from collections.abc import Sequence

import numpy as np

from gaugehouse.reports.render.blocks import Block, Line, Panel, Panels, Section
from gaugehouse.reports.render.charts import draw_panel, fit_frame
from gaugehouse.reports.render.courses import METRICS_DRAWN, Course, find_courses, pick_worst
from gaugehouse.reports.render.document import Chart
from gaugehouse.reports.render.quantities import format_duration, format_quantity, format_share, show_unit
from gaugehouse.reports.render.setting import Setting
from gaugehouse.reports.render.texts import breakable, clean, count_of, join_names
from gaugehouse.reports.render.ticks import find_time_axis
from gaugehouse.reports.render.traffic import LIGHT_WORDS, Light

SIZES = {1: (640, 180), 2: (310, 140), 3: (205, 116)}  # columns -> size of a panel [px]
SECOND_US = 1_000_000
TICKS = {1: 12, 2: 6, 3: 5}  # five weeks of a month fit
TWO_COLUMNS_UP_TO = 4


def build_series(setting: Setting) -> Section | None:
    """Return the charts of each metric, or None where there is nothing to draw."""
    if not setting.document.charts or not setting.options.panels:
        return None
    courses = find_courses(setting.document.charts, setting.board)
    blocks: list[Block] = [_draw_metric(metric, of_metric, setting) for metric, of_metric in courses.items()]
    undrawn = sorted({chart.metric for chart in setting.document.charts} - set(courses))
    if undrawn:
        names = join_names(undrawn, shown=METRICS_DRAWN)
        blocks.append(Line(text=f"The {len(courses)} worst metrics are drawn; without a chart: {names}."))
    return Section(name="series", title="Course over the period", blocks=tuple(blocks))


def _draw_metric(metric: str, courses: Sequence[Course], setting: Setting) -> Panels:
    chosen = pick_worst(courses, setting.options.panels)
    columns = 1 if len(chosen) == 1 else 2 if len(chosen) <= TWO_COLUMNS_UP_TO else 3
    time_axis = find_time_axis(setting.document.period, setting.zone, most=TICKS[columns])
    charts = [one.chart for one in chosen]
    frame = fit_frame(setting.document, charts, time_axis, setting.style, SIZES[columns])
    units = {chart.unit for chart in charts}
    unit = show_unit(charts[0].unit) if len(units) == 1 else ""
    left_out = ""
    if len(chosen) < len(courses):
        left_out = (
            f"The {len(chosen)} worst of {len(courses):,} series are drawn: those with the worst lights, the most time "
            "outside of the limits and the lowest coverage."
        )
    return Panels(
        caption=f"{clean(metric)} [{clean(unit)}]" if unit else clean(metric),
        columns=columns,
        panels=tuple(
            Panel(
                title=breakable(one.chart.component),
                notes=tuple(_describe_course(one, setting)),
                picture=setting.pictures.add(draw_panel(one.chart, frame, setting.style)),
                description=_describe_picture(one, setting),
                light=one.light,
                light_word=LIGHT_WORDS[Light(one.light)] if one.light else "",
            )
            for one in chosen
        ),
        legend=_describe_marks(charts, setting),
        left_out=left_out,
    )


def _describe_marks(charts: Sequence[Chart], setting: Setting) -> str:
    bucket_s = float(np.median(np.diff(charts[0].edges_us))) / SECOND_US
    limits = any(limit is not None for chart in charts for limit in (chart.lsl, chart.usl, chart.target))
    sentences = [
        f"Line: mean of each bucket of {format_duration(bucket_s, setting.style)}. Band: smallest to largest value.",
        "Grey: no data.",
        "Orange at the foot: share of the time without data.",
        "Dashed: limits and target." if limits else "",
        f"All panels have the same axes; times are {setting.zone.key}.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _describe_course(one: Course, setting: Setting) -> list[str]:
    notes = [f"{format_share(one.coverage, setting.style)} covered"]
    if one.gaps:
        notes.append(f"{count_of(one.gaps, 'gap')}, {format_duration(one.gap_s, setting.style)}")
    return notes


def _describe_picture(one: Course, setting: Setting) -> str:
    """Return in words what the picture shows, for those who do not see it."""
    chart = one.chart

    def write(value: float) -> str:
        return format_quantity(value, chart.unit, setting.style, trim=True)

    means = chart.mean[np.isfinite(chart.mean)]
    parts = [f"{clean(chart.metric)} of {clean(chart.component)}"]
    if len(means):
        parts.append(f"means between {write(float(means.min()))} and {write(float(means.max()))}")
    else:
        parts.append("no data")
    names = (("lower limit", chart.lsl), ("upper limit", chart.usl), ("target", chart.target))
    parts += [f"{name} {write(value)}" for name, value in names if value is not None]
    return "; ".join([*parts, *_describe_course(one, setting)])
