"""The README is true: its settings table says what the code does, its links lead somewhere."""

import re
from pathlib import Path

import pytest

from gaugehouse.config import Settings

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text("utf-8")


def default_text(value):
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_settings_table_lists_every_setting_with_its_default_and_help():
    expected = [
        f"| `GAUGEHOUSE_{name.upper()}` | {default_text(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    assert re.findall(r"^\| `GAUGEHOUSE_.*$", README, flags=re.MULTILINE) == expected


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#h][^)]*)\)", README))))
def test_links_of_the_readme_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_the_room_map_names_every_room():
    rooms = sorted(
        path.name for path in (ROOT / "src/gaugehouse").iterdir() if path.is_dir() and (path / "__init__.py").exists()
    )
    mapped = re.findall(r"^  (\w+)/ +\S", README, flags=re.MULTILINE)
    assert sorted(mapped) == rooms


def test_every_room_has_a_card():
    for path in (ROOT / "src/gaugehouse").glob("*/__init__.py"):
        assert "Entry" in path.read_text() or "Owns" in path.read_text() or "main" in path.read_text(), path
