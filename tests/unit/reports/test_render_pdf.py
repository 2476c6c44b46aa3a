"""PDF: what the page says, on paper that breaks well, with fonts inside, the same bytes each time."""

import io
import re
import time

import pytest
from pypdf import PdfReader

from gaugehouse.reports.render import RenderOptions, ReportFormat, render
from gaugehouse.reports.render.texts import BREAK
from unit.reports.sample_report import HOSTILE, bare_report, plant_report, wide_report


def text_of(reader):
    return "\n".join(page.extract_text() for page in reader.pages)


def squeezed(text):
    """Return a text without spaces: paper breaks lines where it wants."""
    return re.sub(rf"[\s\xa0{BREAK}\xad]+", "", text)


@pytest.fixture(scope="module")
def content():
    started_s = time.perf_counter()
    written = render(plant_report(), ReportFormat.PDF)
    print(f"PDF of 12 components: {len(written):,} bytes in {time.perf_counter() - started_s:.2f} s")
    return written


@pytest.fixture(scope="module")
def reader(content):
    return PdfReader(io.BytesIO(content))


@pytest.fixture(scope="module")
def text(reader):
    return squeezed(text_of(reader))


@pytest.mark.parametrize(
    "words",
    [
        "Presses and mills, weeks 43 to 45", "19 October – 8 November 2026", "505 h; clocks change within it", "Revision 2",
        "What needs attention, the worst first", "All targets at a glance", "Values that differ", "128 late rows",
        "Course over the period", "Pareto by cause", "What is missing, and why", "no failure: MTBF is above 168.2 h",
        "planned maintenance: hydraulics", "sum of the steps", "2026-11-09T05:00:12.345678Z",
        "gaugehouse report verify rep_4Fz0bX1mQ9sT7uV2wY3a", "9f2c41d07a5be86310f4d2a97b8c6e5512ab34cd56ef7890a1b2c3d4e5f60718",
    ],
)  # fmt: skip
def test_it_says_what_the_page_says(text, words):
    assert squeezed(words) in text


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_set_letter_by_letter(text, name):
    assert squeezed(name) in text


def test_no_letter_is_missing(text):
    assert squeezed("Some letters are not shown") not in text


def test_charts_are_drawn_with_text_that_can_be_selected(text):
    assert squeezed("USL 80") in text
    assert squeezed("26 Oct") in text


def test_every_page_has_its_number_and_says_of_which_report_it_is(reader):
    pages = len(reader.pages)
    for number, page in enumerate(reader.pages, start=1):
        text = squeezed(page.extract_text())
        assert f"{number}of{pages}" in text
        assert "rep_4Fz0bX1mQ9sT7uV2wY3a·revision2·9f2c41d07a5be863" in text


def test_it_is_dated_by_its_numbers_and_titled(reader):
    assert reader.metadata.title == "Presses and mills, weeks 43 to 45, 19 October – 8 November 2026"
    assert reader.metadata.author == "Gaugehouse"
    assert reader.metadata.creation_date.isoformat() == "2026-11-09T05:00:41+00:00"


def test_it_is_an_archive_copy_that_screen_readers_can_read(content, reader):
    assert b"pdfaid:part" in content or "pdfaid" in reader.xmp_metadata.stream.get_data().decode()
    assert "pdfuaid" in reader.xmp_metadata.stream.get_data().decode()
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert reader.trailer["/Root"]["/Lang"] == "en"


def test_every_font_is_inside(reader):
    for page in reader.pages:
        for font in page["/Resources"]["/Font"].values():
            descendant = font.get_object()["/DescendantFonts"][0].get_object()
            descriptor = descendant["/FontDescriptor"].get_object()
            assert {"/FontFile2", "/FontFile3"} & set(descriptor), descriptor["/FontName"]


def test_nothing_in_it_runs_or_leads_out(content, reader):
    assert b"/JavaScript" not in content
    assert b"/Launch" not in content
    assert b"/URI" not in content


def test_the_same_document_gives_the_same_bytes(content):
    assert render(plant_report(), ReportFormat.PDF) == content


def test_letters_that_no_font_here_has_do_not_stop_a_report():
    written = render(bare_report(title="Presse \ue000 \U000fffff"), ReportFormat.PDF)
    text = squeezed(text_of(PdfReader(io.BytesIO(written))))
    assert squeezed("What is missing, and why") in text
    assert squeezed("Some letters are not shown") in text


def test_paper_can_be_chosen():
    letter = PdfReader(io.BytesIO(render(bare_report(), ReportFormat.PDF, RenderOptions(paper="us-letter"))))
    assert [float(size) for size in letter.pages[0].mediabox[2:]] == [612, 792]


def test_a_table_of_a_thousand_rows_repeats_its_head_on_every_page():
    started_s = time.perf_counter()
    written = render(wide_report(1_000), ReportFormat.PDF)
    reader = PdfReader(io.BytesIO(written))
    seconds = time.perf_counter() - started_s
    print(f"PDF of 1,000 components: {len(reader.pages)} pages, {len(written):,} bytes in {seconds:.2f} s")
    some = [squeezed(page.extract_text()) for page in reader.pages[3:-3:6]]  # reading them all takes pypdf a while
    assert len(some) > 3
    for text in some:
        assert text.count("pump-0") > 15
        assert text.count("Component") == text.count("Coverage") == 1
