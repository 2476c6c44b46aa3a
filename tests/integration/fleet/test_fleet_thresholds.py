"""Thresholds of projects in the database."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from gaugehouse.database.tables import FleetThresholds
from gaugehouse.errors import Refused
from gaugehouse.fleet.thresholds import BOUNDS, Thresholds, find_all_thresholds, get_thresholds, put_thresholds
from gaugehouse.inventory import delete_project

OWN = Thresholds(offline_after_s=60.5, low_battery_percent=0.0, weak_rssi_dbm=-100.25)


def test_a_project_has_the_defaults_until_somebody_decides(database, project_id, other_project_id):
    with database.transaction() as session:
        put_thresholds(session, project_id, OWN)
    with database.reading() as session:
        assert get_thresholds(session, project_id) == OWN
        assert get_thresholds(session, other_project_id) == Thresholds()
        assert find_all_thresholds(session) == {project_id: OWN}


def test_setting_them_again_replaces_all(database, project_id):
    for thresholds in (OWN, Thresholds(offline_after_s=5.0)):
        with database.transaction() as session:
            put_thresholds(session, project_id, thresholds)
    with database.reading() as session:
        assert get_thresholds(session, project_id) == Thresholds(offline_after_s=5.0)


@pytest.mark.parametrize("name", list(BOUNDS))
def test_what_is_out_of_bounds_is_refused_by_name_and_changes_nothing(database, project_id, name):
    low, high = BOUNDS[name]
    for bad in (low - 1, high + 1, float("nan"), float("inf")):
        with pytest.raises(Refused, match=name), database.transaction() as session:
            put_thresholds(session, project_id, replace(Thresholds(), **{name: bad}))
    for good in (low, high):
        with database.transaction() as session:
            put_thresholds(session, project_id, replace(Thresholds(), **{name: good}))
    with database.reading() as session:
        assert getattr(get_thresholds(session, project_id), name) == high


def test_they_go_with_their_project(database, other_project_id):
    with database.transaction() as session:
        put_thresholds(session, other_project_id, OWN)
    with database.transaction() as session:
        delete_project(session, "other")
    with database.reading() as session:
        assert session.scalars(select(FleetThresholds)).all() == []
