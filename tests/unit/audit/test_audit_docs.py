"""docs/audit.md lists every word of the log."""

from pathlib import Path

from gaugehouse.audit import ACTIONS

PAGE = Path(__file__).parents[3] / "docs" / "audit.md"


def test_the_page_lists_every_action_with_its_meaning():
    text = PAGE.read_text("utf-8")
    for word, meaning in ACTIONS.items():
        assert f"| `{word}` | {meaning} |" in text
