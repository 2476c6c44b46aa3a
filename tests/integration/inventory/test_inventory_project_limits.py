"""Limits of a project are kept as they were set, and nonsense is refused."""

from dataclasses import replace

import pytest

from gaugehouse.errors import Refused
from gaugehouse.inventory import LIMITS, ProjectSettings, get_project_settings, put_project_settings
from gaugehouse.limits import Quota


def test_every_limit_is_kept_up_to_the_largest_and_taken_away_again(database, project_id):
    for limits in (LIMITS, dict.fromkeys(LIMITS, 1), dict.fromkeys(LIMITS)):
        with database.transaction() as session:
            put_project_settings(session, project_id, replace(ProjectSettings(), **limits))
        with database.reading() as session:
            settings = get_project_settings(session, project_id)
        assert {name: getattr(settings, name) for name in LIMITS} == limits
        assert settings.quota == Quota(series=limits["series_quota"], rows_per_day=limits["rows_per_day_quota"])


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_a_limit_that_is_none_or_too_large_is_refused_by_name(database, project_id, name):
    for limit in (0, -1, LIMITS[name] + 1):
        with pytest.raises(Refused, match=name), database.transaction() as session:
            put_project_settings(session, project_id, replace(ProjectSettings(), **{name: limit}))
