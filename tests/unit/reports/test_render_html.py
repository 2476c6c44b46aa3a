"""HTML: complete, accessible, alone, and safe whatever names say."""

import base64
import hashlib
import re
import time
from html.parser import HTMLParser

import pytest

from gaugehouse.reports.render import RenderOptions, ReportFormat, Standing, content_security_policy, render
from unit.reports.sample_report import (
    FORMULA,
    HOSTILE,
    LONG,
    MARKUP,
    SCRIPT,
    bare_report,
    plant_report,
    wide_report,
)

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """A page taken apart: its elements with attributes, its texts by element, and whether every tag is closed."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open = [], [], []
        self.feed(content.decode())
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append((self.open[-1] if self.open else "", text))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self):
        return re.sub(r"\s+", " ", " ".join(text for tag, text in self.texts if tag not in {"style", "title"}))


def page_of(document, **options):
    return Page(render(document, ReportFormat.HTML, RenderOptions(**options)))


@pytest.fixture(scope="module")
def content():
    started_s = time.perf_counter()
    written = render(plant_report(), ReportFormat.HTML)
    print(f"HTML of 12 components: {len(written):,} bytes in {time.perf_counter() - started_s:.2f} s")
    return written


@pytest.fixture(scope="module")
def page(content):
    return Page(content)


def test_every_tag_is_closed_and_every_id_is_unique(page):
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_sections_come_in_the_order_of_a_reader(page):
    headings = [text for tag, text in page.texts if tag == "h2"]
    assert headings == [
        "Summary", "Changes", "KPIs", "By label:line", "Course over the period", "Downtime", "What is missing, and why", "Definitions",
        "Where these numbers come from",
    ]  # fmt: skip


def test_it_says_what_the_report_is(page):
    text = page.text()
    for words in (
        "Presses and mills, weeks 43 to 45", "plant-north", "19 October – 8 November 2026", "505 h; clocks change within it",
        "asked for by manager", "Revision 2", "9f2c41d07a5be86310f4d2a97b8c6e5512ab34cd56ef7890a1b2c3d4e5f60718",
        "2026-11-09T05:00:12.345678Z", "gaugehouse report verify rep_4Fz0bX1mQ9sT7uV2wY3a", "2026b",
    ):  # fmt: skip
        assert words in text, words


def test_it_needs_nothing_else_and_runs_nothing(page, content):
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("img")
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in ("href", "src", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
    assert b"url(" not in content.replace(b"url(#", b"")
    assert b"@import" not in content


def test_its_own_policy_allows_exactly_its_style_sheet(page):
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy == content_security_policy()
    (style,) = [text for tag, text in page.texts if tag == "style"]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_names_of_users_are_text(page):
    text = page.text()
    for name in HOSTILE:
        assert re.sub(r"\s+", " ", name) in text, name


def test_tables_have_captions_scopes_and_row_heads(page):
    tables = page.all("table")
    assert len(page.all("caption")) == len(tables) > 8
    assert {attributes["scope"] for attributes in page.all("th")} == {"col", "row"}


def test_charts_have_words_for_those_who_do_not_see_them(page):
    charts = [attributes for attributes in page.all("svg") if attributes.get("class") == "chart"]
    assert len(charts) == 25  # two metrics of 12 components, and the Pareto
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in charts)
    labels = [attributes["aria-label"] for attributes in charts]
    assert any("mill-01" in label and "upper limit 80\xa0°C" in label for label in labels)
    assert all(attributes.get("aria-hidden") == "true" for attributes in page.all("svg") if attributes not in charts)


def test_lights_are_shapes_with_words(page):
    text = page.text()
    for word in ("on target", "borderline", "off target", "not judged"):
        assert word in text
    assert {attributes["href"] for attributes in page.all("use")} == {
        "#light-red", "#light-amber", "#light-green", "#light-grey"
    }  # fmt: skip


def test_what_is_missing_is_said_with_its_reason(page):
    text = page.text()
    for words in (
        "no failure: MTBF is above 168.2 h", "no measurement in the period", "only bad measurements between 02:00 and 03:30",
        "this component has never sent a measurement", "planned maintenance: hydraulics", "alice", "21 d 1 h",
    ):  # fmt: skip
        assert words.replace(" h", " h") in text.replace("\xa0", " "), words


def test_changes_name_old_new_and_cause(page):
    text = page.text().replace("\xa0", " ")
    for words in ("Revision 2 replaces revision 1; 3 values differ", "69.71 °C", "69.74 °C", "128 late rows"):
        assert words in text


def test_a_bare_report_leaves_sections_out_and_says_that_nothing_is_missing():
    text = page_of(bare_report()).text()
    assert "No targets are set" in text
    assert not re.search(r"Downtime|Changes|Course over|What needs attention", text)
    assert "Period complete" in text


def test_a_report_of_nothing_is_a_page():
    empty = bare_report()
    nothing = {"values": empty.values.slice(0, 0), "totals": empty.totals.slice(0, 0), "kpis": (), "components": ()}
    text = page_of(bare_report(**nothing)).text()
    assert "There is no series that KPIs could be computed for." in text
    assert "No series is incomplete" in text


def test_what_does_not_fit_is_said():
    text = page_of(plant_report(), panels=3, page_rows=5).text()
    assert "The 3 worst of 12 series are drawn" in text
    assert "The 5 worst of 12 components are shown" in text


def test_without_panels_there_are_no_charts_of_series():
    assert "Course over the period" not in page_of(plant_report(), panels=0).text()


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (Standing(late_n=128), "Stale: 128 rows came later since it was computed"),
        (Standing(late_n=1, changed=("max hold of press-01",)), "Stale: 1 row came later and 1 setting changed"),
        (Standing(superseded_by=3), "Replaced by revision 3"),
    ],
)
def test_a_report_that_is_no_longer_right_says_so_first(standing, words):
    assert words in page_of(bare_report(standing=standing)).text()


def test_a_running_period_is_preliminary():
    sample = bare_report()
    text = page_of(bare_report(asked_at=sample.period.start.replace(day=30))).text()
    assert "Preliminary: the period still runs" in text


def test_decimal_comma_is_used_throughout():
    text = page_of(plant_report(charts=()), decimal=",").text().replace("\xa0", " ")
    assert "69,71 °C" in text
    assert "69.71" not in text


def test_a_long_name_can_be_copied_as_it_is(content):
    assert LONG.encode() in content


def test_a_title_of_markup_is_a_title():
    content = render(bare_report(title=SCRIPT, asked_by=MARKUP, project=FORMULA), ReportFormat.HTML)
    assert b"<script" not in content
    assert b"&lt;script&gt;" in content


def test_the_same_document_gives_the_same_page(content):
    assert render(plant_report(), ReportFormat.HTML) == content


def test_a_thousand_components_are_a_page():
    started_s = time.perf_counter()
    content = render(wide_report(1_000), ReportFormat.HTML)
    print(f"HTML of 1,000 components: {len(content):,} bytes in {time.perf_counter() - started_s:.2f} s")
    assert content.count(b'<th scope="row"><bdi>pump-0999') >= 1
