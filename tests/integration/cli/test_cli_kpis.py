"""`gaugehouse kpi list|explain` on an installation, without a process of their own."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from gaugehouse.cli.kpis import ExplainOptions, explain_from_data, list_kpis
from gaugehouse.errors import NotFound, Refused
from gaugehouse.inventory import update_metric
from planting import plant

__all__ = ["plant"]

MARCH = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def installation(plant, monkeypatch):
    """A pump that is up for three of four hours, in files."""
    monkeypatch.setenv("GAUGEHOUSE_DATABASE_URL", plant.database.engine.url.render_as_string(hide_password=False))
    plant.deliver([("pump-1", "running", MARCH + timedelta(hours=n), float(n != 1)) for n in range(4)])
    with plant.database.transaction() as session:
        update_metric(session, plant.manager.project_id, "running", {"kind": "state", "max_hold_s": 3600.0})
    plant.lake.flush()
    return plant


def explain(installation, **changes):
    asked = {"kpi": "availability", "component": "pump-1", "metric": None, "period": "2026-03-01", "timezone": "UTC"}
    explain_from_data(ExplainOptions(data_dir=installation.layout.data_dir, project="default", **(asked | changes)))


def test_every_kpi_is_listed_with_its_formula(installation, capsys):
    list_kpis(data_dir=installation.layout.data_dir, project="default")
    lines = capsys.readouterr().out.splitlines()
    (availability,) = [line for line in lines if line.startswith("availability ")]
    assert re.search(r"Availability +% +state +- +up_s / \(up_s \+ down_s\)", availability)


def test_a_kpi_is_explained_step_by_step(installation, capsys):
    explain(installation)
    printed = re.sub(r" +", " ", capsys.readouterr().out)
    assert "pump-1 running 2026-03-01 00:00 to 2026-03-02 00:00 UTC" in printed
    assert "up_s / (up_s + down_s)" in printed
    assert "10800 s / (10800 s + 3600 s) = 75 %" in printed
    assert "75 %" in printed


def test_what_cannot_be_explained_says_why(installation):
    with pytest.raises(NotFound, match="no KPI"):
        explain(installation, kpi="happiness")
    with pytest.raises(Refused, match="no such metric"):
        explain(installation, kpi="counter_increase")
