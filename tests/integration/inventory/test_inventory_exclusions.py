from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gaugehouse.errors import NotFound, Refused, TooLarge
from gaugehouse.inventory import (
    NewComponent,
    NewExclusion,
    add_exclusion,
    create_components,
    exclusions,
    find_effective_exclusions,
    find_exclusions,
    get_exclusion,
    withdraw_exclusion,
)
from gaugehouse.measurements.exclusions import ExclusionKind

T0 = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MONTH = (T0, T0 + 30 * 24 * HOUR)


def window(start_h=0, end_h=2, components=("press-1",), **changes):
    new = NewExclusion(
        kind="maintenance", components=components, start=T0 + start_h * HOUR, end=T0 + end_h * HOUR, reason="overhaul"
    )
    return replace(new, **changes)


@pytest.fixture
def ids(database, project_id, other_project_id):
    """Id by name of three presses; the other project has one of the same name."""
    with database.transaction() as session:
        created = create_components(session, project_id, [NewComponent(name=f"press-{n}") for n in (1, 2, 3)])
        create_components(session, other_project_id, [NewComponent(name="press-1"), NewComponent(name="far away")])
    return {component.name: component.id for component in created}


@pytest.fixture
def add(database, project_id, ids):
    def call(new, project=project_id, author="max"):
        with database.transaction() as session:
            return add_exclusion(session, project, new, author=author)

    return call


def listed(database, project_id, **filters):
    with database.reading() as session:
        return [one.id for one in find_exclusions(session, project_id, **filters).items]


def effective(database, project_id, *components, period=MONTH):
    with database.reading() as session:
        return find_effective_exclusions(session, project_id, components, *period)


def test_a_window_is_kept_as_it_was_added(database, project_id, add, ids):
    added = add(window(components=("press-2", ids["press-1"], "press-2"), kind="calibration", reason=" new gauge "))
    assert (added.kind, added.components) == (ExclusionKind.CALIBRATION, ("press-1", "press-2"))
    assert (added.start, added.end) == (T0, T0 + 2 * HOUR)
    assert (added.reason, added.author) == ("new gauge", "max")
    assert (added.withdrawn_at, added.withdrawn_by) == (None, None)
    with database.reading() as session:
        assert get_exclusion(session, project_id, added.id) == added
        assert find_exclusions(session, project_id).items == (added,)


def test_a_withdrawn_window_stays_with_who_withdrew_it(database, project_id, add):
    added = add(window())
    for author in ("anna", "somebody else"):
        with database.transaction() as session:
            withdrawn = withdraw_exclusion(session, project_id, added.id, author=author)
    assert withdrawn.withdrawn_by == "anna"
    assert withdrawn.withdrawn_at is not None
    assert replace(withdrawn, withdrawn_at=None, withdrawn_by=None) == added
    assert listed(database, project_id) == []
    assert listed(database, project_id, include_withdrawn=True) == [added.id]
    assert effective(database, project_id, "press-1") == []


def test_windows_are_found_by_component_and_time(database, project_id, add, ids):
    early = add(window(0, 2))
    everywhere = add(window(5, 6, components=None))
    late = add(window(10, 12, components=("press-2",)))
    assert listed(database, project_id) == [early.id, everywhere.id, late.id]
    assert listed(database, project_id, sort="-start", limit=2) == [late.id, everywhere.id]
    assert listed(database, project_id, component="press-1") == [early.id, everywhere.id]
    assert listed(database, project_id, component=ids["press-2"]) == [everywhere.id, late.id]
    assert listed(database, project_id, start=T0 + 2 * HOUR, end=T0 + 10 * HOUR) == [everywhere.id]
    with database.reading() as session:
        first = find_exclusions(session, project_id, limit=2)
        rest = find_exclusions(session, project_id, limit=2, cursor=first.next_cursor)
        with pytest.raises(NotFound):
            find_exclusions(session, project_id, component="far away")
    assert [one.id for one in first.items + rest.items] == [early.id, everywhere.id, late.id]
    assert first.total == 3


def test_only_windows_that_concern_a_report_take_effect_in_it(database, project_id, add):
    add(window(-5, 0))  # ends as the period begins
    add(window(30 * 24, 31 * 24))  # begins as it ends
    add(window(1, 2, components=("press-3",)))
    both = add(window(-1, 1, components=("press-1", "press-2", "press-3")))
    everywhere = add(window(5, 6, components=None))
    found = effective(database, project_id, "press-2", "press-1")
    assert [one.id for one in found] == [both.id, everywhere.id]
    assert [one.components for one in found] == [("press-1", "press-2"), None]
    assert (found[0].reason, found[0].author, found[0].kind) == ("overhaul", "max", ExclusionKind.MAINTENANCE)


def test_projects_do_not_see_each_others_windows(database, project_id, other_project_id, add):
    mine = add(window())
    add(window(components=None), project=other_project_id)
    assert listed(database, project_id) == [mine.id]
    assert [one.id for one in effective(database, project_id, "press-1")] == [mine.id]
    with database.transaction() as session, pytest.raises(NotFound):
        withdraw_exclusion(session, other_project_id, mine.id, author="x")
    with pytest.raises(NotFound):
        add(window(components=("press-2",)), project=other_project_id)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "  "}, "reason"),
        ({"reason": "x" * 1001}, "reason"),
        ({"reason": "a\x00b"}, "reason"),
        ({"kind": "holiday"}, "kind"),
        ({"end": T0}, "end"),
        ({"end": T0 - HOUR}, "end"),
        ({"components": ()}, "components"),
        ({"components": ("press-1",) * 1001}, "components"),
    ],
)
def test_what_cannot_be_a_window_is_refused_by_its_field(add, database, project_id, changes, field):
    with pytest.raises(Refused) as refusal:
        add(window(**changes))
    assert refusal.value.code == "exclusion_refused"
    assert refusal.value.fields["errors"][0]["field"] == field
    assert listed(database, project_id) == []


def test_unknown_components_are_named(add, database, project_id):
    with pytest.raises(NotFound) as refusal:
        add(window(components=("press-1", "press-9", "a\x00", "far away")))
    assert refusal.value.fields["names"] == ["press-9", "a\x00", "far away"]
    assert listed(database, project_id) == []


@pytest.mark.parametrize("wrong", ["exc_nothing", "a\x00b", "", "x" * 300])
def test_a_window_that_does_not_exist_is_not_found(database, project_id, wrong):
    with database.reading() as session, pytest.raises(NotFound):
        get_exclusion(session, project_id, wrong)


def test_more_windows_than_a_pin_can_name_are_refused(database, project_id, add, monkeypatch):
    monkeypatch.setattr(exclusions, "EFFECTIVE_LIMIT", 2)
    for hour in range(2):
        add(window(hour, hour + 1))
    assert len(effective(database, project_id, "press-1")) == 2
    add(window(2, 3))
    with pytest.raises(TooLarge):
        effective(database, project_id, "press-1")
