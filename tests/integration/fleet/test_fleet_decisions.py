"""Releases, rollouts and the form of versions as rows, on both databases."""

import pytest

from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.fleet.releases import (
    NewRelease,
    ReleaseChanges,
    add_release,
    change_release,
    find_releases,
    get_form,
    get_release,
    put_form,
)
from gaugehouse.fleet.rollouts import (
    NewRollout,
    Plans,
    add_rollout,
    change_rollout,
    find_rollouts,
    get_rollout,
    load_plan,
)
from gaugehouse.inventory import NewComponent, create_components, create_project


@pytest.fixture
def project(database):
    with database.transaction() as session:
        mine, other = create_project(session, "mine").id, create_project(session, "other").id
        devices = [
            NewComponent(name=name, type="pump", labels={"site": site}) for name, site in [("a", "n"), ("b", "s")]
        ]
        create_components(session, mine, devices)
        create_components(session, other, [NewComponent(name="theirs")])
    return mine, other


def release(database, project_id, version, **options):
    with database.transaction() as session:
        return add_release(session, project_id, NewRelease(version=version, **options), author="max")


def roll_out(database, project_id, one, **options):
    with database.transaction() as session:
        return add_rollout(session, project_id, NewRollout(release=one.id, **options), author="max")


def states(database, project_id):
    with database.reading() as session:
        return {one.version: str(one.state) for one in find_releases(session, project_id).items}


def test_one_release_of_a_type_is_recommended_and_the_one_before_stays_available(database, project):
    mine, _ = project
    release(database, mine, "1.0", state="recommended")
    newer = release(database, mine, "1.1")
    release(database, mine, "1.1", state="recommended", component_type="pump")
    with database.transaction() as session:
        change_release(session, mine, newer.id, ReleaseChanges(state="recommended"))
    with database.reading() as session:
        found = [(one.version, one.component_type, str(one.state)) for one in find_releases(session, mine).items]
    assert sorted(found) == [("1.0", "", "available"), ("1.1", "", "recommended"), ("1.1", "pump", "recommended")]
    release(database, mine, "1.2", state="recommended")
    assert states(database, mine)["1.2"] == "recommended"


def test_a_release_is_withdrawn_with_a_reason_and_may_come_back(database, project):
    one = release(database, project[0], "1.0", url="https://fw.example/1.0", sha256="a" * 64, notes="first")
    with database.transaction() as session:
        gone = change_release(session, project[0], one.id, ReleaseChanges(state="withdrawn", reason="bricks radios"))
    assert (gone.state, gone.withdrawn_reason, gone.withdrawn_at is not None) == ("withdrawn", "bricks radios", True)
    with database.transaction() as session:
        back = change_release(session, project[0], one.id, ReleaseChanges(state="available", notes="again"))
    assert (back.withdrawn_at, back.withdrawn_reason, back.notes, back.url) == (None, None, "again", one.url)


def test_a_version_is_released_once_and_in_the_form_of_the_project(database, project):
    mine, other = project
    release(database, mine, "1.0")
    release(database, other, "1.0")
    with pytest.raises(AlreadyExists) as taken:
        release(database, mine, "1.0")
    assert taken.value.code == "release_exists"
    with database.transaction() as session:
        put_form(session, mine, "FW{number}.{number}")
        put_form(session, mine, "FW{number}.{number}[-{word}]")
    with pytest.raises(Refused) as refused:
        release(database, mine, "1.1")
    assert refused.value.code == "version_refused"
    release(database, mine, "FW1.1-a")
    with database.reading() as session:
        assert [get_form(session, one).text for one in project] == ["FW{number}.{number}[-{word}]", "dotted"]


@pytest.mark.parametrize("options", [{"state": "gone"}, {"notes": "a\0"}, {"component_type": "x" * 300}, {"url": "\0"}])
def test_what_cannot_be_kept_is_refused_by_its_field(database, project, options):
    with pytest.raises(Refused) as refused:
        release(database, project[0], "1.0", **options)
    assert refused.value.fields["errors"][0]["field"] == next(iter(options))


def test_rollouts_say_whom_they_concern_and_end_for_good(database, project):
    mine, _ = project
    one = release(database, mine, "1.0")
    first = roll_out(database, mine, one, share_percent=10, labels={"site": "n"})
    second = roll_out(database, mine, one, components=("b", "a"))
    assert (first.version, first.state, second.components) == ("1.0", "active", ("a", "b"))
    with database.transaction() as session:
        assert change_rollout(session, mine, first.id, share_percent=50.5).share_percent == 50.5
        assert change_rollout(session, mine, first.id, state="paused").state == "paused"
        assert change_rollout(session, mine, second.id, state="ended").state == "ended"
    with database.reading() as session:
        assert [row.id for row in find_rollouts(session, mine).items] == [first.id]
        assert find_rollouts(session, mine, include_ended=True).total == 2
        assert [(row.share_percent, row.state) for row in load_plan(session, mine).rollouts] == [(50.5, "paused")]
    with database.transaction() as session, pytest.raises(Refused, match="begin a new rollout"):
        change_rollout(session, mine, second.id, state="active")


@pytest.mark.parametrize(
    "options",
    [
        {"share_percent": 101},
        {"share_percent": -1},
        {"share_percent": float("nan")},
        {"labels": {"": "x"}},
        {"components": ()},
    ],
)
def test_a_rollout_that_cannot_be_is_refused_by_its_field(database, project, options):
    one = release(database, project[0], "1.0")
    with pytest.raises(Refused) as refused:
        roll_out(database, project[0], one, **options)
    assert refused.value.fields["errors"][0]["field"] == next(iter(options))


def test_a_withdrawn_release_cannot_be_rolled_out(database, project):
    one = release(database, project[0], "1.0", state="withdrawn")
    with pytest.raises(Refused, match="withdrawn"):
        roll_out(database, project[0], one)


@pytest.mark.parametrize("wrong_id", ["fwr_none", "rol_none", "\0", "\ud800", "x" * 300])
def test_what_there_is_not_is_missing(database, project, wrong_id):
    with database.reading() as session:
        for ask in (get_release, get_rollout):
            with pytest.raises(NotFound):
                ask(session, project[0], wrong_id)


def test_nothing_of_another_project_can_be_seen_changed_or_rolled_out(database, project):
    mine, other = project
    one = release(database, mine, "1.0")
    rolled = roll_out(database, mine, one)
    with database.transaction() as session:
        for ask in (
            lambda: get_release(session, other, one.id),
            lambda: change_release(session, other, one.id, ReleaseChanges(state="withdrawn")),
            lambda: get_rollout(session, other, rolled.id),
            lambda: change_rollout(session, other, rolled.id, state="ended"),
            lambda: add_rollout(session, other, NewRollout(release=one.id), author="eve"),
            lambda: add_rollout(session, mine, NewRollout(release=one.id, components=("theirs",)), author="eve"),
        ):
            with pytest.raises(NotFound):
                ask()
        assert find_releases(session, other).total == find_rollouts(session, other).total == 0
        assert load_plan(session, other).releases == ()


def test_a_plan_is_at_most_a_second_old_and_asks_the_inventory_only_where_it_matters(database, project):
    mine, _ = project
    now_s = [0.0]
    plans = Plans(database, clock=lambda: now_s[0])
    assert plans.find_target(mine, "a", "1.0").reason == "up_to_date"
    one = release(database, mine, "1.1", state="recommended")
    assert plans.find_target(mine, "a", "1.0").reason == "up_to_date"  # as of a moment ago
    now_s[0] = 1.0
    assert plans.find_target(mine, "a", "1.0").version == "1.1"
    assert not plans.get(mine).looks_at_components
    roll_out(database, mine, one, labels={"site": "n"})
    plans.forget(mine)  # what is decided here counts at once
    assert plans.get(mine).looks_at_components
    assert [plans.find_target(mine, name, "1.0").version for name in ("a", "b", "nobody")] == ["1.1", "1.0", "1.0"]
    release(database, mine, "2.0", component_type="pump", state="recommended")
    plans.forget(mine)
    assert [plans.find_target(mine, name, "1.0").version for name in ("a", "b", "nobody")] == ["1.1", "2.0", "1.0"]
