"""PDF: the page of `layout`, set by typst inside this process. No file is written, no package and no font is fetched.

The template is ours and constant; what a report says reaches it as JSON: a `#` in a name is a `#` on paper. Bytes are
the same for the same document: the only date inside is when the numbers were computed, fonts are in this package.
A letter that Source Sans does not have (Chinese, Arabic) is taken from the fonts of the machine, where it has some.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import typst

from gaugehouse.reports.render.blocks import Badge, Page, Pictures
from gaugehouse.reports.render.document import ReportDocument
from gaugehouse.reports.render.formats import RenderOptions
from gaugehouse.reports.render.layout import lay_out

TEMPLATE = Path(__file__).parent / "templates" / "report.typ"
FONTS_DIR = Path(__file__).parent / "fonts"
ARCHIVE = ["a-2a", "ua-1"]  # PDF/A for archives and PDF/UA for screen readers
MISSING_LETTERS = Badge(
    text="Some letters are not shown: the machine that set this has no font for them", tone="warning"
)


def write(document: ReportDocument, options: RenderOptions) -> bytes:
    """Return the report as PDF: PDF/A-2a and PDF/UA-1 unless a text holds letters that no font here has."""
    page, pictures = lay_out(document, options)
    created_s = int(document.computed_at.timestamp())
    try:
        return _compile(gather_files(page, pictures), created_s, ARCHIVE)
    except typst.TypstError:  # both standards refuse a letter without a shape; a report with an empty box is still one
        honest = replace(page, badges=(*page.badges, MISSING_LETTERS))
        return _compile(gather_files(honest, pictures), created_s, [])


def gather_files(page: Page, pictures: Pictures) -> dict[str, bytes]:
    """Return the files that typst sees, none of which is on a disk."""
    files = {name: svg.encode() for name, svg in pictures.drawn.items()}
    return files | {"main.typ": TEMPLATE.read_bytes(), "page.json": msgspec.json.encode(page)}


@cache
def find_fonts() -> typst.Fonts:
    """Return our fonts first, those of the machine for letters that they lack."""
    return typst.Fonts(include_system_fonts=True, include_embedded_fonts=True, font_paths=[str(FONTS_DIR)])


def _compile(files: dict[str, bytes], created_s: int, standards: list[str]) -> bytes:
    written: bytes = typst.compile(  # type: ignore[call-overload]  # its stub does not know files by name
        files, format="pdf", font_paths=find_fonts(), pdf_standards=standards, timestamp=created_s
    )
    return written
