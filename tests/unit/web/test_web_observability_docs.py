"""docs/observability.md lists exactly what is served."""

from pathlib import Path

from gaugehouse.web.exposition import METRICS

DOCUMENT = Path(__file__).parents[3] / "docs" / "observability.md"


def as_table():
    rows = [f"| `{name}` | {kind} | {meaning} |" for name, (kind, meaning) in METRICS.items()]
    return "\n".join(["| metric | type | meaning |", "|---|---|---|", *rows])


def test_the_table_of_metrics_is_the_one_that_is_served():
    assert as_table() in DOCUMENT.read_text()
