"""XLSX: sheets, typed cells, charts, and names that must not become formulas."""

import io
import warnings
import zipfile
from datetime import datetime

import numpy as np
import pytest
from openpyxl import load_workbook

from gaugehouse.errors import TooLarge
from gaugehouse.reports.render import RenderOptions, ReportFormat, render, workbook
from gaugehouse.reports.render.sheets import name_sheet
from unit.reports.sample_report import FORMULA, HOSTILE, SILENT, bare_report, plant_report

REPORT = plant_report()


def book_of(document, options=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl's own
        return load_workbook(io.BytesIO(render(document, ReportFormat.XLSX, options or RenderOptions())))


@pytest.fixture(scope="module")
def book():
    return book_of(REPORT)


def rows_of(sheet):
    head, *rows = sheet.iter_rows(values_only=True)
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_every_table_has_its_sheet(book):
    assert book.sheetnames == [
        "Report", "KPIs", "Values", "Groups", "Series running", "Series temperature", "Pareto", "Downtime", "Missing",
        "Exclusions", "Changes", "Definitions", "Components",
    ]  # fmt: skip


def test_tables_that_are_empty_have_none():
    assert book_of(bare_report()).sheetnames == ["Report", "KPIs", "Definitions", "Components"]


def test_values_are_numbers_with_every_digit(book):
    rows = rows_of(book["Values"])
    for row, value in zip(rows, REPORT.values["value"].to_pylist(), strict=True):
        assert row["value"] == (None if value is None else pytest.approx(value, rel=1e-15))  # XLSX has 16 digits
    assert [row["n"] for row in rows] == REPORT.values["n"].to_pylist()


def test_instants_are_dates_in_utc_and_in_the_zone(book):
    row = rows_of(book["Values"])[20]
    assert row["bucket start (UTC)"] == datetime.fromisoformat("2026-11-07T23:00:00")
    assert row["bucket start (Europe/Berlin)"] == datetime.fromisoformat("2026-11-08T00:00:00")
    assert "yy" in book["Values"]["D2"].number_format


def test_shares_are_percentages_and_kpis_in_per_cent_keep_their_number(book):
    row = next(row for row in rows_of(book["KPIs"]) if row["component"] == "press-01" and row["kpi"] == "coverage")
    assert row["value"] == pytest.approx(100 * row["coverage"])
    sheet = book["KPIs"]
    place = [cell.value for cell in sheet[1]].index("coverage") + 1
    assert sheet.cell(2, place).number_format == "0.0%"


def test_lights_are_words(book):
    words = {row["light"] for row in rows_of(book["KPIs"])}
    assert words == {"on target", "borderline", "off target", "not judged", None}


def test_a_value_that_is_missing_is_an_empty_cell_with_its_reason(book):
    row = next(row for row in rows_of(book["KPIs"]) if row["component"] == SILENT and row["kpi"] == "mean")
    assert row["value"] is None
    assert row["reason"] == "no measurement in the period"


def test_no_cell_of_the_workbook_is_a_formula(book):
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.data_type != "f", (sheet.title, cell.coordinate)
                assert cell.hyperlink is None


def test_names_stand_there_letter_by_letter_and_stay_text_when_edited(book):
    sheet = book["KPIs"]
    cells = {cell.value: cell for cell in sheet["A"]}
    assert set(HOSTILE) <= set(cells)
    assert cells[FORMULA].quotePrefix
    assert not cells["press-01"].quotePrefix


def test_heads_are_frozen_and_filtered(book):
    assert book["Values"].freeze_panes == "B2"
    assert book["Values"].auto_filter.ref == f"A1:M{REPORT.values.num_rows + 1}"


def test_charts_are_native_and_leave_gaps(book):
    content = render(REPORT, ReportFormat.XLSX)
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        charts = [files.read(name).decode() for name in files.namelist() if name.startswith("xl/charts/chart")]
    assert len(charts) == 3
    assert not [chart for chart in charts if 'dispBlanksAs val="' in chart.replace('dispBlanksAs val="gap"', "")]
    means = [row["mill-02"] for row in rows_of(book["Series temperature"])]
    (chart,) = (one for one in REPORT.charts if (one.component, one.metric) == ("mill-02", "temperature"))
    assert [mean is None for mean in means] == np.isnan(chart.mean).tolist()


def test_the_file_carries_when_it_was_computed_and_nothing_of_the_machine(book):
    assert book.properties.created == datetime.fromisoformat("2026-11-09T05:00:41")
    assert book.properties.creator == "Gaugehouse"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("a" * 40, "a" * 31),
        ("'quoted'", "quoted"),
        ("History", "History_"),
        ("a[b]:*?/\\c", "a_b______c"),
        ("", "Sheet"),
        ("'", "Sheet"),
    ],
)
def test_sheet_names_obey_the_rules(name, allowed):
    assert name_sheet(name, set()) == allowed


def test_sheet_names_that_would_collide_are_numbered_within_the_limit():
    taken = {"a" * 31, "a" * 29 + " 2"}
    assert name_sheet("A" * 35, taken) == "A" * 29 + " 3"


def test_too_many_rows_are_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr(workbook, "ROWS_LIMIT", 100)
    with pytest.raises(TooLarge, match=r"choose Parquet or CSV"):
        render(REPORT, ReportFormat.XLSX)
