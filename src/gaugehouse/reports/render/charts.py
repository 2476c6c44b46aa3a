"""Charts as SVG: Vega-Lite built by altair, drawn by vl-convert inside this process, without a browser or a network.

No text of users enters a chart: names stand beside it, as text of the page, where they wrap and are escaped. Ticks and
labels are finished before (`ticks`). What is drawn is thinned to what a panel can show: a month of minutes is 43,000
points, a panel has 200 pixels; smallest and largest values survive the thinning.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert
from numpy.typing import NDArray

from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.reports.render.document import Chart, Numbers, ReportDocument
from gaugehouse.reports.render.quantities import FIXED, NumberStyle, format_number
from gaugehouse.reports.render.ticks import Axis, find_value_axis

FONTS_DIR = Path(__file__).parent / "fonts"
FONT = "'Source Sans 3'"  # quoted: a name may not begin a part with a digit; a page in a browser sets its own
VEGA_LITE = "6.4"  # of those that vl-convert carries; named, so that an update of it changes no picture unseen

# Okabe and Ito's palette, told apart by people with any colour vision; limits differ by dashes and words as well.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#00805E", "#E69F00"
INK, SOFT_INK, GRID, NO_DATA = "#1F2933", "#52606D", "#E4E7EB", "#E9ECF0"

SECOND_US = 1_000_000
POINTS_PER_PIXEL = 1.5  # of a picture's width: more cannot be seen, and makes it large
DESIGNS_KEPT = 32
FAR_LIMIT_SPANS = 1.0  # a limit further away than the data are high would flatten them: it is said in words instead
LACK_STEPS = 10
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
WHOLE_HOURS_FROM = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the panels of a metric share: their axes and size, so that they can be compared.

    Args:
        start_us: Of the period. [us]
        time: Axis of seconds since then. [s]
        value: Axis of values. [unit]
        width: Of the whole picture. [px]
        height: Likewise. [px]
    """

    start_us: int
    time: Axis
    value: Axis
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoBar:
    """One cause: its place, its amount and the share of all causes up to here."""

    rank: int
    amount: float
    cumulated: float


# --- Thinning ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Buckets as they are drawn. [s], [unit]"""

    start_s: Numbers
    end_s: Numbers
    minimum: Numbers
    mean: Numbers
    maximum: Numbers
    coverage: Numbers


def _thin(chart: Chart, start_us: int, points: int) -> _Columns:
    """Return at most `points` columns: neighbours become one, a gap stays one only where nothing is left."""
    edges_s = (chart.edges_us - start_us) / SECOND_US
    buckets = len(edges_s) - 1
    starts = np.unique(np.arange(min(points, buckets)) * buckets // min(points, buckets))
    length_s = np.diff(edges_s)
    coverage = np.where(np.isfinite(chart.coverage), chart.coverage, 0.0)
    is_known = np.isfinite(chart.mean)
    weight = np.where(is_known, np.maximum(coverage, 1e-9) * length_s, 0.0)
    heavy = np.add.reduceat(weight, starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.add.reduceat(np.where(is_known, chart.mean, 0.0) * weight, starts) / heavy
    return _Columns(
        start_s=edges_s[starts],
        end_s=edges_s[np.append(starts[1:], buckets)],
        minimum=_reduce(np.fmin, chart.minimum, starts),
        mean=np.where(heavy > 0, mean, np.nan),
        maximum=_reduce(np.fmax, chart.maximum, starts),
        coverage=np.add.reduceat(coverage * length_s, starts) / np.add.reduceat(length_s, starts),
    )


def _reduce(pick: np.ufunc, values: Numbers, starts: NDArray[np.intp]) -> Numbers:
    reduced: Numbers = pick.reduceat(np.where(np.isfinite(values), values, np.nan), starts)
    return reduced


def _find_runs(keys: NDArray[Any]) -> NDArray[np.intp]:
    """Return where a new run of equal keys begins, and the end."""
    return np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1, [len(keys)]])


# --- Rows that are drawn ----------------------------------------------------------------------------------------------

Rows = list[dict[str, Any]]


def _rows_of_line(columns: _Columns) -> Rows:
    """Return the steps of mean and band; each run of buckets with data ends where its last bucket does."""
    is_known = np.isfinite(columns.mean)
    borders = _find_runs(is_known)
    low = np.where(np.isfinite(columns.minimum), columns.minimum, columns.mean)
    high = np.where(np.isfinite(columns.maximum), columns.maximum, columns.mean)
    rows: Rows = []
    for run, (first, end) in enumerate(pairwise(borders.tolist())):
        if not is_known[first]:
            continue
        at = [*range(first, end), end - 1]
        times = [*columns.start_s[first:end].tolist(), float(columns.end_s[end - 1])]
        quantities = (columns.mean[at].tolist(), low[at].tolist(), high[at].tolist())
        rows += [
            {"x": x, "y": y, "low": bottom, "high": top, "run": run}
            for x, y, bottom, top in zip(times, *quantities, strict=True)
        ]
    return rows


def _rows_of_gaps(columns: _Columns) -> Rows:
    is_gap = ~np.isfinite(columns.mean)
    borders = _find_runs(is_gap)
    return [
        {"x": float(columns.start_s[first]), "x2": float(columns.end_s[end - 1])}
        for first, end in pairwise(borders)
        if is_gap[first]
    ]


def _rows_of_lacks(columns: _Columns) -> Rows:
    """Return how much of the time is not covered, in spans of about the same share."""
    steps = np.round((1.0 - columns.coverage) * LACK_STEPS).astype(np.int64)
    borders = _find_runs(steps)
    return [
        {
            "x": float(columns.start_s[first]),
            "x2": float(columns.end_s[end - 1]),
            "share": float(steps[first]) / LACK_STEPS,
        }
        for first, end in pairwise(borders)
        if steps[first]
    ]


def _rows_of_limits(chart: Chart, axis: Axis, style: NumberStyle) -> Rows:
    limits = (("USL", chart.usl), ("LSL", chart.lsl), ("target", chart.target))
    return [
        {"y": value, "kind": kind, "label": f"{kind} {format_number(value, style, trim=True)}"}
        for kind, value in limits
        if value is not None and axis.low <= value <= axis.high
    ]


# --- Frames -----------------------------------------------------------------------------------------------------------


def fit_frame(
    document: ReportDocument, charts: Sequence[Chart], time_axis: Axis, style: NumberStyle, size: tuple[int, int]
) -> Frame:
    """Return the axes that panels of one metric share.

    Args:
        document: Whose period is the time axis.
        charts: Panels that are drawn together.
        time_axis: See `find_time_axis`.
        style: Punctuation.
        size: Width and height of a panel. [px]
    """
    low, high = _find_span(charts)
    reach = (high - low) * FAR_LIMIT_SPANS or abs(high) or 1.0
    limits = [value for chart in charts for value in (chart.lsl, chart.usl, chart.target) if value is not None]
    near = [value for value in limits if low - reach <= value <= high + reach]
    return Frame(
        start_us=to_epoch_us(document.period.start),
        time=time_axis,
        value=find_value_axis(min([low, *near]), max([high, *near]), style),
        width=size[0],
        height=size[1],
    )


def _find_span(charts: Sequence[Chart]) -> tuple[float, float]:
    known = [values[np.isfinite(values)] for chart in charts for values in (chart.minimum, chart.mean, chart.maximum)]
    everything = np.concatenate(known) if known else np.empty(0)
    return (float(everything.min()), float(everything.max())) if len(everything) else (0.0, 1.0)


# --- Pictures ---------------------------------------------------------------------------------------------------------


def draw_panel(chart: Chart, frame: Frame, style: NumberStyle) -> str:
    """Return a series over the period as SVG: mean as a line, smallest to largest as a band, gaps as gaps."""
    columns = _thin(chart, frame.start_us, round(frame.width * POINTS_PER_PIXEL))
    rows = {
        "line": _rows_of_line(columns),
        "gaps": _rows_of_gaps(columns),
        "lacks": _rows_of_lacks(columns),
        "limits": _rows_of_limits(chart, frame.value, style),
    }
    return _draw(_design_panel(frame), rows)


def draw_pareto(bars: Sequence[ParetoBar], total: float, style: NumberStyle, size: tuple[int, int]) -> str:
    """Return bars by rank with the cumulated share as SVG; names stand in the table beside.

    Args:
        bars: Causes, the largest first. [h]
        total: Of all causes, those without a bar included: both axes end there, so the line touches the first bar. [h]
        style: Punctuation.
        size: Width and height. [px]
    """
    axis = find_value_axis(0.0, total, style)
    inside = [place for place, tick in enumerate(axis.ticks) if tick <= total]
    ticks, labels = tuple(axis.ticks[place] for place in inside), tuple(axis.labels[place] for place in inside)
    rows = [
        {
            "rank": f"{bar.rank}",
            "amount": bar.amount,
            "share": bar.cumulated,
            "label": f"{format_number(bar.amount, style, decimals=1 if bar.amount < WHOLE_HOURS_FROM else 0)}{FIXED}h",
        }
        for bar in bars
    ]
    ranks = tuple(f"{bar.rank}" for bar in bars)
    return _draw(_design_pareto(ranks, Axis(low=0.0, high=total, ticks=ticks, labels=labels), size), {"bars": rows})


@cache
def _register_fonts() -> None:
    vl_convert.register_font_directory(str(FONTS_DIR))


def _draw(design: str, rows: Mapping[str, Rows]) -> str:
    _register_fonts()
    specification = json.loads(design) | {"datasets": dict(rows)}
    # No base address is allowed: whatever a specification might name, nothing is loaded.
    return vl_convert.vegalite_to_svg(specification, vl_version=VEGA_LITE, allowed_base_urls=[])


def _pick_label(axis: Axis) -> str:
    """Return a Vega expression that finds the finished label of a tick."""
    return f"{json.dumps(axis.labels)}[indexof({json.dumps(axis.ticks)}, datum.value)]"


@lru_cache(maxsize=DESIGNS_KEPT)
def _design_panel(frame: Frame) -> str:
    """Return the specification of a panel without its rows; building one takes altair longer than drawing it."""
    x_scale = alt.Scale(domain=[frame.time.low, frame.time.high], nice=False)
    x_axis = alt.Axis(values=list(frame.time.ticks), labelExpr=_pick_label(frame.time), grid=False, title=None)
    y_scale = alt.Scale(domain=[frame.value.low, frame.value.high], nice=False, zero=False)
    y_axis = alt.Axis(values=list(frame.value.ticks), labelExpr=_pick_label(frame.value), title=None)
    x, x2 = alt.X("x:Q", scale=x_scale, axis=x_axis), alt.X2("x2:Q")

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", scale=y_scale, axis=y_axis)

    gaps = alt.Chart(alt.NamedData("gaps"), name="gaps").mark_rect(color=NO_DATA).encode(x=x, x2=x2)
    line = alt.Chart(alt.NamedData("line"))
    band = line.properties(name="band").mark_area(interpolate="step-after", color=BLUE, opacity=0.22)
    band = band.encode(x=x, y=y("low"), y2=alt.Y2("high:Q"), detail="run:N")
    mean = line.properties(name="mean").mark_line(interpolate="step-after", color=BLUE, strokeWidth=1)
    mean = mean.encode(x=x, y=y("y"), detail="run:N")
    lacks = alt.Chart(alt.NamedData("lacks"), name="lacks").mark_rect(color=ORANGE)
    lacks = lacks.encode(
        x=x,
        x2=x2,
        y=alt.value(alt.expr("height - 3")),
        y2=alt.value("height"),
        opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0, 1]), legend=None),
    )
    return json.dumps(_finish(alt.layer(gaps, band, mean, lacks, *_design_limits(y("y"))), frame.width, frame.height))


def _design_limits(y: alt.Y) -> tuple[alt.Chart, ...]:
    """Return lines with their words, and a halo that keeps the words readable above a line.

    The lower limit has its word below its line: where limits are close, that is not where the target's is.
    """
    kinds = ["USL", "LSL", "target"]
    color = alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=[VERMILION, VERMILION, GREEN]), legend=None)
    dash = alt.StrokeDash("kind:N", scale=alt.Scale(domain=kinds, range=[[4, 2], [4, 2], [1, 2]]), legend=None)
    limits = alt.Chart(alt.NamedData("limits"))
    rules = limits.properties(name="limits").mark_rule(strokeWidth=1).encode(y=y, color=color, strokeDash=dash)
    layers: list[alt.Chart] = [rules]
    for name, is_meant, baseline, dy in (("above", "!=", "bottom", -1), ("below", "==", "top", 2)):
        place: dict[str, Any] = {"align": "right", "baseline": baseline, "dx": -2, "dy": dy, "fontSize": 8}
        words = limits.transform_filter(f"datum.kind {is_meant} 'LSL'")
        words = words.encode(x=alt.value("width"), y=y, text="label:N")
        halo = words.properties(name=f"halo-{name}").mark_text(**place, color="white", stroke="white", strokeWidth=2.5)
        layers += [halo, words.properties(name=f"words-{name}").mark_text(**place).encode(color=color)]
    return tuple(layers)


@lru_cache(maxsize=DESIGNS_KEPT)
def _design_pareto(ranks: tuple[str, ...], axis: Axis, size: tuple[int, int]) -> str:
    bars = alt.Chart(alt.NamedData("bars"))
    rank_axis = alt.Axis(title=None, labelAngle=0, grid=False, ticks=False)
    x = alt.X("rank:N", sort=list(ranks), axis=rank_axis, scale=alt.Scale(padding=0.3))
    hours = alt.Axis(
        values=list(axis.ticks), labelExpr=_pick_label(axis), title="downtime [h]", grid=False, titlePadding=6
    )
    amount = alt.Y("amount:Q", scale=alt.Scale(domain=[axis.low, axis.high], nice=False), axis=hours)
    shares = Axis(low=0.0, high=1.0, ticks=SHARES, labels=tuple(f"{100 * share:.0f}{FIXED}%" for share in SHARES))
    percent = alt.Axis(
        values=list(shares.ticks), labelExpr=_pick_label(shares), title="share of all downtime", orient="right"
    )
    share = alt.Y("share:Q", scale=alt.Scale(domain=[0, 1], nice=False), axis=percent)
    words: dict[str, Any] = {"baseline": "bottom", "dy": -2, "fontSize": 8.5}
    lengths = alt.layer(
        bars.properties(name="bars").mark_bar(color=BLUE).encode(x=x, y=amount),
        bars.properties(name="halo")
        .mark_text(**words, color="white", stroke="white", strokeWidth=2.5)
        .encode(x=x, y=amount, text="label:N"),
    )
    line = bars.properties(name="cumulated").mark_line(color=VERMILION, point={"color": VERMILION, "size": 22})
    labels = bars.properties(name="labels").mark_text(**words, color=INK).encode(x=x, y=amount, text="label:N")
    layered = alt.layer(line.encode(x=x, y=share), alt.layer(lengths, labels)).resolve_scale(y="independent")
    return json.dumps(_finish(layered, *size))


def _finish(chart: alt.LayerChart | alt.FacetChart, width: int, height: int) -> dict[str, Any]:
    sized = chart.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"), padding=2
    )
    styled = (
        sized.configure(font=FONT, background="transparent", aria=False)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=SOFT_INK,
            titleColor=SOFT_INK,
            domainColor=SOFT_INK,
            tickColor=SOFT_INK,
            gridColor=GRID,
            labelFontSize=9,
            titleFontSize=9,
            titleFontWeight="normal",
            tickSize=3,
            labelOverlap=False,  # as many ticks as fit were chosen
        )
        .configure_axisX(labelFlush=True)
        .configure_axisY(domain=False, ticks=False, minExtent=28)
    )
    finished: dict[str, Any] = styled.to_dict()
    return finished
