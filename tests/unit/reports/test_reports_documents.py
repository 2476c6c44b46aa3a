"""From a revision to its document, without a disk."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from gaugehouse.errors import Refused
from gaugehouse.kpi import Definition
from gaugehouse.measurements.exclusions import Exclusion, ExclusionKind
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.reports.changes import CHANGES
from gaugehouse.reports.documents import DEFAULT_TITLE, EVERY_COMPONENT, Issue, Surroundings, make_document
from gaugehouse.reports.files import WantedFile, decode_wanted, encode_wanted
from gaugehouse.reports.overview import DOWNTIME, MISSING, Line, Overview
from gaugehouse.reports.pin import PinnedComparison
from gaugehouse.reports.render import RenderOptions, ReportFormat, render
from gaugehouse.reports.request import KpiTarget, ReportRequest, check_wording
from gaugehouse.reports.result import RESULT, Answer

DAY = timedelta(days=1)
KPIS = dict.fromkeys(MetricKind, ("mean", "max", "std", "count"))


def values_of(pin, value=70.0):
    rows = [
        {
            "component": one.component, "metric": one.metric, "kpi": kpi, "bucket_start": start, "bucket_end": start + DAY,
            "value": value, "unit": "degC", "coverage": 1.0, "n": 5, "status": "ok", "reason": None,
        }
        for one in pin.series
        for kpi in pin.kpis[one.attributes.kind]
        for start in (pin.period.start + day * DAY for day in range(len(pin.edges_us) - 1))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=RESULT)


def issue_of(pin, *, revision=1, **question):
    return Issue(
        report_id="rep_1",
        revision=revision,
        asked_by="max",
        computed_at=pin.asked_at + timedelta(minutes=1),
        digest="d" * 64,
        request=ReportRequest(period="2026-03", **question),
        pin=pin,
        answer=Answer(values=values_of(pin)),
    )


@pytest.fixture
def oven(make_series):
    return make_series("oven", "heat", unit="degC", lsl=50.0, usl=90.0, target=70.0)


def overview_of(pin, *, edges=5, totals=None):
    edges_us = np.linspace(pin.edges_us[0], pin.edges_us[-1], edges).astype(np.int64)
    numbers = np.arange(edges - 1, dtype=np.float64)
    lines = tuple(
        Line(series=one, minimum=numbers, mean=numbers, maximum=numbers, coverage=np.ones(edges - 1))
        for one in pin.series
    )
    return Overview(
        totals=values_of(replace(pin, edges_us=pin.edges_us[[0, -1]])) if totals is None else totals,
        missing=MISSING.empty_table(),
        downtime=DOWNTIME.empty_table(),
        edges_us=edges_us,
        lines=lines,
    )


def wanted_of(document):
    return {row["kpi"]: (row["target"], row["lower"], row["upper"]) for row in document.targets.to_pylist()}


def test_what_nobody_named_has_the_name_that_all_have(make_pin, oven):
    pin = make_pin([oven], kpis=KPIS)
    assert make_document(issue_of(pin)).title == DEFAULT_TITLE
    assert make_document(issue_of(pin, title="Ovens")).title == "Ovens"


def test_levels_are_held_against_the_metrics_limits_and_extremes_not_against_its_target(make_pin, oven):
    document = make_document(issue_of(make_pin([oven], kpis=KPIS)))
    assert wanted_of(document) == {"mean": (70.0, 50.0, 90.0), "max": (None, 50.0, 90.0)}


def test_what_the_request_says_counts_instead(make_pin, oven):
    targets = {"mean": KpiTarget(target=60.0), "std": KpiTarget(upper=3.0)}
    document = make_document(issue_of(make_pin([oven], kpis=KPIS), targets=targets))
    assert wanted_of(document) == {"mean": (60.0, None, None), "max": (None, 50.0, 90.0), "std": (None, None, 3.0)}


def test_a_metric_without_limits_has_no_target(make_pin, make_series):
    assert make_document(issue_of(make_pin([make_series("oven", "heat")], kpis=KPIS))).targets.num_rows == 0


def test_values_of_the_period_as_one_are_its_totals_and_those_of_buckets_are_not(make_pin, oven):
    whole, by_day = make_pin([oven], kpis=KPIS), make_pin([oven], days=3, kpis=KPIS)
    assert make_document(issue_of(whole)).totals.num_rows == 4
    assert make_document(issue_of(by_day)).totals.num_rows == 0
    document = make_document(issue_of(by_day), Surroundings(overview=overview_of(by_day)))
    assert (document.totals.num_rows, document.values.num_rows, document.is_whole) == (4, 12, True)


def test_a_project_s_own_kpi_is_defined_as_it_was(make_pin, oven):
    own = Definition(name="twice", title="Twice", unit="U", formula="2 * mean", version=3)
    kpis = dict.fromkeys(MetricKind, ("twice", "coverage"))
    document = make_document(issue_of(make_pin([oven], kpis=kpis, definitions=(own,))))
    twice, coverage = document.kpis
    assert (twice.formula, twice.version, twice.source, twice.unit) == (
        "2 * mean",
        3,
        "defined in default",
        "the metric's",
    )
    assert (coverage.judges_data, coverage.higher_is_better, coverage.version) == (True, True, None)


def test_a_comparison_of_totals_is_made_from_both_and_says_why_there_is_none(make_pin, oven):
    pin = make_pin([oven], days=2, kpis=KPIS)
    before = replace(pin.period, start=pin.period.start - 2 * DAY, end=pin.period.start)
    edges_us = pin.edges_us - 2 * 86_400_000_000
    pin = replace(
        pin,
        comparison=PinnedComparison(
            against="previous", period=before, edges_us=edges_us, partner=np.arange(2), reasons=(None, None)
        ),
    )
    others = values_of(replace(pin, period=before, edges_us=edges_us[[0, -1]]), value=56.0).set_column(
        4, "bucket_end", pa.array([before.end] * 4, RESULT.field("bucket_end").type)
    )
    document = make_document(issue_of(pin), Surroundings(overview=overview_of(pin), others=others))
    assert document.compared_with == before
    assert {(row["previous"], row["difference"], row["percent"]) for row in document.comparison.to_pylist()} == {
        (56.0, 14.0, 25.0)
    }
    why = Surroundings(overview=overview_of(pin), why_no_others="it is gone")
    rows = make_document(issue_of(pin), why).comparison.to_pylist()
    assert {(row["previous"], row["reason"]) for row in rows} == {(None, "it is gone")}
    nothing = PinnedComparison(
        against="year_before",
        period=None,
        edges_us=np.empty(0, np.int64),
        partner=np.full(2, -1),
        reasons=("2025 has no 29 February",) * 2,
    )
    pin = replace(pin, comparison=nothing)
    document = make_document(issue_of(pin), Surroundings(overview=overview_of(pin)))
    assert document.compared_with is None
    assert {row["reason"] for row in document.comparison.to_pylist()} == {"2025 has no 29 February"}


def test_what_lies_ahead_is_not_drawn(make_pin, oven):
    pin = make_pin([oven], days=4, kpis=KPIS)
    running = replace(pin, asked_at=pin.period.start + 1.5 * DAY)
    for one, buckets, end in ((pin, 4, pin.period.end), (running, 2, running.asked_at)):
        (chart,) = make_document(issue_of(one), Surroundings(overview=overview_of(one))).charts
        assert len(chart.mean) == buckets
        assert chart.edges_us[-1] == int(end.timestamp() * 1e6)
    ahead = replace(pin, asked_at=pin.period.start - DAY)
    (chart,) = make_document(issue_of(ahead), Surroundings(overview=overview_of(ahead))).charts
    assert len(chart.mean) == 1


def test_exclusions_outside_of_the_period_or_of_other_components_are_left_out(make_pin, oven):
    def window(first, last, components=None):
        start = pin.period.start
        return Exclusion(
            id="exc_1", kind=ExclusionKind.OTHER, components=components, start=start + first * DAY,
            end=start + last * DAY, reason="strike", author="ada",
        )  # fmt: skip

    pin = make_pin([oven], days=3, kpis=KPIS)
    windows = (window(-2, 0), window(-1, 1, ("oven", "other")), window(2, 9), window(3, 4))
    rows = make_document(issue_of(replace(pin, exclusions=windows))).exclusions.to_pylist()
    assert [(row["component"], row["start"], row["end"], row["reason"]) for row in rows] == [
        ("oven", pin.period.start, pin.period.start + DAY, "other: strike"),
        (EVERY_COMPONENT, pin.period.start + 2 * DAY, pin.period.end, "other: strike"),
    ]


def test_a_change_of_quality_alone_is_told_in_words(make_pin, oven):
    pin = make_pin([oven], kpis=KPIS)
    key = {
        "component": "oven",
        "table": "values",
        "metric": "heat",
        "kpi": "mean",
        "bucket_start": pin.period.start,
        "bucket_end": pin.period.end,
        "late_rows": 2,
        "because": "2 late rows",
    }
    same = {
        "old_value": 70.0,
        "new_value": 70.0,
        "old_status": "ok",
        "new_status": "ok",
        "old_coverage": 0.5,
        "new_coverage": 0.75,
    }
    changes = pa.Table.from_pylist(
        [
            key | same,
            key | same | {"new_status": "partial"},
            key | same | {"new_value": 71.0},
            key | same | {"old_value": None, "new_value": None, "old_status": None, "new_status": "no_data"},
        ],
        schema=CHANGES,
    )
    document = make_document(issue_of(pin, revision=2), Surroundings(changes=changes))
    assert document.changes["cause"].to_pylist() == [
        "coverage 50 % became 75 %: 2 late rows",
        "ok became partial: 2 late rows",
        "2 late rows",
        "not there became no_data: 2 late rows",
    ]
    assert set(document.changes["unit"].to_pylist()) == {"degC"}


@pytest.mark.parametrize("days", [1, 3])
@pytest.mark.parametrize("report_format", list(ReportFormat))
def test_every_format_can_be_written_without_what_surrounds_the_values(make_pin, oven, report_format, days):
    issue = issue_of(make_pin([oven], days=days, kpis=KPIS))
    assert render(make_document(issue, Surroundings(notes=("the rows are gone",))), report_format)


def test_one_file_has_one_place_whatever_options_its_format_ignores():
    def wanted(report_format, **options):
        return WantedFile(report_id="rep_1", revision=2, report_format=report_format, options=RenderOptions(**options))

    assert wanted(ReportFormat.XLSX, paper="us-letter", decimal=",") == wanted(ReportFormat.XLSX)
    assert wanted(ReportFormat.PDF, paper="us-letter") != wanted(ReportFormat.PDF)
    for one in (wanted(ReportFormat.JSON), wanted(ReportFormat.CSV, decimal=",", table="totals")):
        assert decode_wanted("rep_1", encode_wanted(one)) == one


@pytest.mark.parametrize(
    "targets", [{"mean": KpiTarget()}, {"mean": KpiTarget(lower=2.0, upper=1.0)}, {"max": KpiTarget(target=1.0)}]
)
def test_targets_that_say_nothing_or_of_other_kpis_are_refused(targets):
    with pytest.raises(Refused):
        check_wording(ReportRequest(period="2026-03", kpis=("mean",), targets=targets))
