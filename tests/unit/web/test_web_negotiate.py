"""Accept and ?format= choose the form of an answer."""

import asyncio

import pytest

from gaugehouse.errors import NotAcceptable
from gaugehouse.web.negotiate import Format, choose_format, negotiate


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, Format.JSON),
        ("", Format.JSON),
        ("*/*", Format.JSON),
        ("application/*", Format.JSON),
        ("text/*", Format.CSV),
        ("text/csv", Format.CSV),
        ("TEXT/CSV; charset=utf-8", Format.CSV),
        ("application/x-ndjson", Format.NDJSON),
        ("application/vnd.apache.arrow.stream", Format.ARROW),
        ("application/vnd.apache.parquet", Format.PARQUET),
        ("text/csv;q=0.5, application/vnd.apache.parquet;q=0.9", Format.PARQUET),
        ("text/html, */*;q=0.1", Format.JSON),
        ("text/csv, application/json", Format.JSON),
        ("application/json;q=0, */*", Format.NDJSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format.JSON),
        ("text/csv;q=nonsense, application/json;q=0.1", Format.JSON),
    ],
)
def test_the_best_wanted_form_is_chosen(accept, expected):
    assert choose_format(accept) is expected


@pytest.mark.parametrize("accept", ["text/html", "image/*", "*/*;q=0", "text/csv;q=0", "nonsense", ";;;,,,"])
def test_a_form_that_is_not_written_is_refused(accept):
    with pytest.raises(NotAcceptable) as refused:
        choose_format(accept)
    assert "application/json" in refused.value.fields["available"]


def test_the_query_field_wins_over_the_header():
    assert asyncio.run(negotiate(Format.CSV, "application/json")) is Format.CSV
    assert asyncio.run(negotiate(None, "text/csv")) is Format.CSV
