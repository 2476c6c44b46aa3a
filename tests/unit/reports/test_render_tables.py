"""Formats for programs: JSON, CSV, Parquet. And what all formats share: options, names, laziness, same bytes."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import fields
from datetime import datetime
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gaugehouse.errors import PeriodRefused, Refused
from gaugehouse.reports.render import MEDIA_TYPES, Chart, RenderOptions, ReportFormat, name_file, render
from gaugehouse.reports.render.document import SCHEMAS
from gaugehouse.reports.render.formats import TableName
from gaugehouse.reports.result import DIGEST_KEY, RESULT
from gaugehouse.web.encode import encode_ndjson
from unit.reports.sample_report import FORMULA, HOSTILE, SILENT, bare_report, plant_report

REPORT = plant_report()


def read_csv(content, **options):
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True, **options))


def json_of(document):
    return json.loads(render(document, ReportFormat.JSON))


# --- CSV ---------------------------------------------------------------------------------------------------------------


def test_csv_has_every_value_with_every_digit():
    rows = read_csv(render(REPORT, ReportFormat.CSV))
    assert list(rows[0]) == RESULT.names
    values = REPORT.values.to_pylist()
    assert [float(row["value"]) if row["value"] else None for row in rows] == [row["value"] for row in values]
    assert [datetime.fromisoformat(row["bucket_start"]) for row in rows] == [row["bucket_start"] for row in values]
    assert rows[0]["bucket_start"].endswith("Z")


def test_csv_lines_end_as_rfc_4180_says_and_quotes_are_doubled():
    content = render(REPORT, ReportFormat.CSV)
    assert content.count(b"\r\n") == REPORT.values.num_rows + 1
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b'"\'=HYPERLINK(""http://example.invalid"",""press"")"' in content


def test_csv_disarms_formulas_and_keeps_all_other_names():
    names = {row["component"] for row in read_csv(render(REPORT, ReportFormat.CSV))}
    assert names == {"'" + name if name == FORMULA else name for name in REPORT.values["component"].to_pylist()}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "－"])
def test_no_cell_of_a_csv_begins_like_a_formula(start):
    document = bare_report(
        totals=REPORT.totals.set_column(
            0, REPORT.totals.schema.field(0), pa.array([f"{start}x"] * REPORT.totals.num_rows)
        )
    )
    rows = read_csv(render(document, ReportFormat.CSV, RenderOptions(table="totals")))
    assert {row["component"] for row in rows} == {f"'{start}x"}


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_csv_with_decimal_comma_for_spreadsheets_that_want_it(delimiter):
    options = RenderOptions(delimiter=delimiter, decimal=",", byte_order_mark=True)
    content = render(REPORT, ReportFormat.CSV, options)
    assert content.startswith(b"\xef\xbb\xbf")
    rows = read_csv(content, delimiter=delimiter)
    values = [float(row["value"].replace(",", ".")) if row["value"] else None for row in rows]
    assert values == REPORT.values["value"].to_pylist()


def test_csv_in_a_zone_has_its_offset_on_both_sides_of_the_change_of_clocks():
    rows = read_csv(render(REPORT, ReportFormat.CSV, RenderOptions(timezone="Europe/Berlin")))
    assert rows[0]["bucket_start"] == "2026-10-19T00:00:00+02:00"
    assert rows[20]["bucket_end"] == "2026-11-09T00:00:00+01:00"


@pytest.mark.parametrize("table", get_args(TableName))
def test_every_table_can_be_had_as_csv_and_parquet(table):
    options = RenderOptions(table=table)
    assert len(read_csv(render(REPORT, ReportFormat.CSV, options))) == getattr(REPORT, table).num_rows
    read = pq.read_table(io.BytesIO(render(REPORT, ReportFormat.PARQUET, options)))
    assert read.schema.remove_metadata() == SCHEMAS[table]


def test_table_names_are_those_of_the_document():
    assert set(get_args(TableName)) == set(SCHEMAS) <= {one.name for one in fields(REPORT)}


# --- JSON --------------------------------------------------------------------------------------------------------------


def test_json_items_are_those_of_the_result_route():
    lines = b"".join(encode_ndjson(batch) for batch in REPORT.values.combine_chunks().to_batches())
    body = json_of(REPORT)
    assert body["items"] == [json.loads(line) for line in lines.splitlines()]
    assert body["next_cursor"] is None
    assert body["as_of"] == "2026-11-09T05:00:12.345678Z"


def test_json_says_everything_that_the_document_says():
    body = json_of(REPORT)
    assert body["format"] == "gaugehouse.report.1"
    assert body["report"]["id"] == REPORT.report_id
    assert body["period"] == {
        "expression": "2026-10-19/2026-11-09", "timezone": "Europe/Berlin", "start": "2026-10-18T22:00:00Z",
        "end": "2026-11-08T23:00:00Z", "bucket": "day",
    }  # fmt: skip
    for table in set(SCHEMAS) - {"values"}:
        assert len(body[table]) == getattr(REPORT, table).num_rows, table
        assert list(body[table][0]) == SCHEMAS[table].names
    assert len(body["lights"]) == REPORT.targets.num_rows
    assert [one["name"] for one in body["kpis"]] == [one.name for one in REPORT.kpis]
    assert {one["name"] for one in body["components"]} >= set(HOSTILE)


def test_json_charts_are_columns_with_null_for_gaps():
    chart = next(
        one for one in json_of(REPORT)["charts"] if one["component"] == SILENT and one["metric"] == "temperature"
    )
    assert len(chart["edges"]) == 506  # three weeks with an hour more
    assert chart["mean"] == [None] * 505
    assert (chart["lsl"], chart["usl"]) == (55.0, 80.0)


def test_json_has_no_number_that_json_does_not_know():
    totals = REPORT.totals.set_column(5, RESULT.field("value"), pa.array([float("inf")] * REPORT.totals.num_rows))
    text = render(plant_report(totals=totals), ReportFormat.JSON)
    parsed = json.loads(text, parse_constant=pytest.fail)
    assert parsed["totals"][0]["value"] is None


# --- Parquet -----------------------------------------------------------------------------------------------------------


def test_parquet_has_the_values_and_what_they_are_evidence_of():
    file = pq.ParquetFile(io.BytesIO(render(REPORT, ReportFormat.PARQUET)))
    assert file.read().replace_schema_metadata(None).equals(REPORT.values.combine_chunks())
    metadata = file.schema_arrow.metadata
    assert metadata[DIGEST_KEY].decode() == REPORT.digest
    described = json.loads(metadata[b"gaugehouse.report"])
    assert described["report"]["revision"] == 2
    assert described["versions"] == {"code": "0.5.0", "catalogue": "3b1f09a2c4d5e6f7", "tzdata": "2026b"}


# --- All formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "report_format", [ReportFormat.JSON, ReportFormat.CSV, ReportFormat.PARQUET, ReportFormat.XLSX]
)
def test_the_same_document_gives_the_same_bytes(report_format):
    assert render(plant_report(), report_format) == render(plant_report(), report_format)


@pytest.mark.parametrize(
    "report_format", [ReportFormat.JSON, ReportFormat.CSV, ReportFormat.PARQUET, ReportFormat.XLSX]
)
def test_a_report_of_nothing_can_be_written(report_format):
    empty = bare_report(values=RESULT.empty_table(), totals=RESULT.empty_table(), kpis=(), components=())
    assert render(empty, report_format)


def test_every_format_has_a_media_type():
    assert set(MEDIA_TYPES) == set(ReportFormat)


def test_file_names_are_plain_whatever_the_title_is():
    named = name_file(plant_report(title='../../etc/"passwd\r\nX: y'), ReportFormat.PDF)
    assert named == "plant-north_etc-passwd-x-y_rep_4Fz0bX1mQ9sT7uV2wY3a_r2.pdf"
    assert name_file(plant_report(title="压力机"), ReportFormat.CSV) == "plant-north_rep_4Fz0bX1mQ9sT7uV2wY3a_r2.csv"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"delimiter": ","} | {"decimal": ","}, "delimiter"),
        ({"delimiter": "x"}, "delimiter"),
        ({"decimal": "'"}, "decimal"),
        ({"page_rows": 0}, "page_rows"),
        ({"panels": -1}, "panels"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options, named):
    with pytest.raises(Refused) as refused:
        RenderOptions(**options)
    assert refused.value.code == "report_option_refused"
    assert refused.value.fields == {"option": named}


def test_a_zone_that_does_not_exist_is_refused():
    with pytest.raises(PeriodRefused):
        RenderOptions(timezone="Europe/Nowhere")


def test_a_document_with_a_wrong_table_or_a_chart_with_wrong_arrays_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="targets must have the columns"):
        bare_report(targets=REPORT.comparison)
    chart = REPORT.charts[0]
    with pytest.raises(ValueError, match="one number for 505 buckets"):
        Chart(
            component="a", metric="b", unit="", edges_us=chart.edges_us, minimum=chart.minimum, mean=chart.mean[1:],
            maximum=chart.maximum, coverage=chart.coverage,
        )  # fmt: skip


def test_no_library_of_a_format_is_loaded_before_it_is_used():
    heavy = "altair vl_convert typst xlsxwriter jinja2 jsonschema"
    code = (
        "import sys, gaugehouse.reports, gaugehouse.reports.render, gaugehouse.web.encode;"
        f"print([name for name in {heavy.split()!r} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_the_sample_has_what_the_formats_must_survive():
    assert pc.any(pc.is_null(REPORT.totals["value"])).as_py()
    assert REPORT.values.num_rows == 21 * REPORT.totals.num_rows
