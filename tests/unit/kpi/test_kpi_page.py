"""docs/kpis.md says what the catalogue says."""

from pathlib import Path

from gaugehouse.kpi import CATALOGUE
from gaugehouse.kpi.page import render_page


def test_the_kpi_page_is_the_catalogue():
    page = Path(__file__).parents[3] / "docs" / "kpis.md"
    assert page.read_text("utf-8") == render_page(CATALOGUE.values())
