"""docs/fleet.md lists exactly the metrics that are served and the thresholds that there are."""

from dataclasses import fields
from pathlib import Path

import pytest

from gaugehouse.fleet import Thresholds
from gaugehouse.fleet.states import REASONS, State
from gaugehouse.fleet.thresholds import BOUNDS
from gaugehouse.web.fleet_exposition import FLEET_METRICS, GAUGES, TREND_AGE

DOCUMENT = (Path(__file__).parents[3] / "docs" / "fleet.md").read_text("utf-8")


def test_the_table_of_metrics_is_the_one_that_is_served():
    rows = [f"| `{name}` | {kind} | {meaning} |" for name, (kind, meaning) in FLEET_METRICS.items()]
    assert "\n".join(["| metric | type | meaning |", "|---|---|---|", *rows]) in DOCUMENT
    assert FLEET_METRICS.keys() == GAUGES.keys() | {"heartbeat_count_total", TREND_AGE}


@pytest.mark.parametrize("field", fields(Thresholds), ids=lambda field: field.name)
def test_every_threshold_is_told_with_its_default_and_has_bounds(field):
    assert f"| `{field.name}` | {field.default:g} |" in DOCUMENT
    low, high = BOUNDS[field.name]
    assert low <= field.default <= high


@pytest.mark.parametrize("word", [*REASONS, *State])
def test_every_state_and_reason_is_told(word):
    assert f"`{word}`" in DOCUMENT
