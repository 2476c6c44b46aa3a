"""What a device is told to run: shares, labels, lists, withdrawals; one answer to one question."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.fleet.targets import (
    Device,
    Plan,
    Reason,
    Release,
    ReleaseState,
    Rollout,
    RolloutState,
    choose_target,
)
from gaugehouse.fleet.versions import read_form

START = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = [f"device-{i}" for i in range(400)]


def release(version, state="available", component_type="", at=0):
    return Release(
        id=f"fwr_{component_type}{version}",
        component_type=component_type,
        version=version,
        state=ReleaseState(state),
        url=f"https://fw.example/{version}",
        sha256="0" * 64,
        created_at=START + timedelta(hours=at),
    )


def rollout(target, *, id="rol_1", share=100.0, labels=None, components=None, state="active", at=0):  # noqa: A002
    return Rollout(
        id=id,
        release=target,
        state=RolloutState(state),
        share_percent=share,
        labels=labels or {},
        components=None if components is None else frozenset(components),
        created_at=START + timedelta(hours=at),
    )


def plan(*releases, rollouts=()):
    return Plan(form=read_form("dotted"), releases=tuple(releases), rollouts=tuple(rollouts))


def device(version=None, *, name="device-0", component_type="", **labels):
    return Device(name=name, component_type=component_type, labels=labels, version=version)


def told(chosen_plan, asking):
    target = choose_target(chosen_plan, asking)
    return target.version, target.reason.value


OLD, NEW = release("1.0"), release("1.1", at=1)


def reached(share, **options):
    one = rollout(NEW, share=share, **options)
    return {name for name in NAMES if told(plan(OLD, NEW, rollouts=[one]), device("1.0", name=name))[0] == "1.1"}


@given(st.floats(0, 100), st.floats(0, 100), st.text(min_size=1, max_size=8))
def test_a_share_that_grows_only_adds_devices(a, b, name):
    smaller, greater = sorted((a, b))
    assert reached(smaller, id=name) <= reached(greater, id=name)


def test_shares_are_what_they_say():
    assert reached(0) == set()
    assert reached(100) == set(NAMES)
    assert 60 <= len(reached(25)) <= 140  # 100 expected, standard deviation 8.7


def test_the_same_devices_are_not_first_in_every_rollout():
    first, second = reached(10, id="rol_a"), reached(10, id="rol_b")
    assert first != second


def test_a_share_of_those_with_a_label_and_of_no_others():
    one = rollout(NEW, share=50, labels={"site": "north"})
    told_versions = {
        (name, site): told(plan(OLD, NEW, rollouts=[one]), device("1.0", name=name, site=site))[0]
        for name in NAMES
        for site in ("north", "south")
    }
    assert {told_versions[name, "south"] for name in NAMES} == {"1.0"}
    assert {name for name in NAMES if told_versions[name, "north"] == "1.1"} == reached(50)


def test_a_list_goes_before_labels_and_these_before_everybody_and_then_the_newest():
    third, fourth = release("1.2"), release("1.3")
    everybody = rollout(OLD, id="rol_all", at=9)
    labelled = rollout(NEW, id="rol_label", labels={"site": "north"}, at=5)
    older, newer = (
        rollout(one, id=f"rol_{one.version}", components=["device-7"], at=i) for i, one in enumerate([third, fourth])
    )
    whole = plan(OLD, NEW, third, fourth, rollouts=[everybody, older, labelled, newer])
    assert told(whole, device("1.0", name="device-7", site="north")) == ("1.3", "rollout")
    assert told(whole, device("1.0", name="device-8", site="north")) == ("1.1", "rollout")
    assert told(whole, device("1.2", name="device-8", site="south")) == ("1.0", "rollout")  # a rollback that is pushed
    assert choose_target(whole, device("1.0", name="device-7")).rollout == "rol_1.3"


def test_the_recommended_release_is_for_all_who_are_older_and_for_new_ones():
    recommended = replace(NEW, state=ReleaseState.RECOMMENDED)
    whole = plan(OLD, recommended, release("1.2"))
    assert told(whole, device("1.0")) == ("1.1", "recommended")
    assert told(whole, device(None)) == ("1.1", "recommended")
    assert told(whole, device("1.1")) == ("1.1", "up_to_date")
    assert told(whole, device("1.2")) == ("1.2", "up_to_date")
    assert told(whole, device("nightly")) == ("nightly", "up_to_date")  # nobody can say that it is older
    assert told(plan(OLD, NEW), device(None)) == (None, "nothing_released")


@pytest.mark.parametrize("state", ["active", "paused"])
def test_a_recommended_release_that_is_rolled_out_is_for_the_rollout_only(state):
    recommended = replace(NEW, state=ReleaseState.RECOMMENDED)
    whole = plan(OLD, recommended, rollouts=[rollout(recommended, components=["device-7"], state=state)])
    assert told(whole, device("1.0", name="device-8")) == ("1.0", "up_to_date")
    expected = ("1.1", "rollout") if state == "active" else ("1.0", "up_to_date")
    assert told(whole, device("1.0", name="device-7")) == expected


def test_devices_on_a_withdrawn_release_go_back():
    bad = release("1.1", "withdrawn")
    assert told(plan(OLD, release("0.9"), bad), device("1.1")) == ("1.0", "rollback")
    assert told(plan(OLD, bad, release("1.2")), device("1.1")) == ("1.0", "rollback")
    assert told(plan(bad, release("1.2"), release("1.3")), device("1.1")) == ("1.3", "rollback")
    assert told(plan(release("0.9", "recommended"), OLD, bad), device("1.1")) == ("0.9", "rollback")
    assert told(plan(bad), device("1.1")) == (None, "no_alternative")


def test_nobody_goes_back_to_what_is_still_tried_out_if_there_is_anything_else():
    bad, trial = release("1.1", "withdrawn"), release("1.0.5")
    tried = rollout(trial, components=["device-7"])
    assert told(plan(OLD, trial, bad, rollouts=[tried]), device("1.1")) == ("1.0", "rollback")
    assert told(plan(trial, bad, rollouts=[tried]), device("1.1")) == ("1.0.5", "rollback")


def test_a_withdrawn_release_is_rolled_out_to_nobody():
    bad = release("1.1", "withdrawn")
    assert told(plan(OLD, bad, rollouts=[rollout(bad)]), device("1.0")) == ("1.0", "up_to_date")


def test_a_release_for_a_type_is_for_this_type_and_goes_before_one_for_all():
    every, pumps = release("1.0", "recommended"), release("7.0", "recommended", "pump")
    whole = plan(every, pumps, rollouts=[rollout(release("7.1", component_type="pump"))])
    assert told(plan(every, pumps), device("0.1", component_type="pump")) == ("7.0", "recommended")
    assert told(plan(every, pumps), device("0.1", component_type="fan")) == ("1.0", "recommended")
    assert told(whole, device("1.0", component_type="fan")) == ("1.0", "up_to_date")
    assert told(whole, device("7.0", component_type="pump")) == ("7.1", "rollout")


states = st.sampled_from(list(ReleaseState))
some_versions = st.sampled_from(["0.9", "1.0", "1.0.1", "1.1", "2.0-rc.1", "2.0", "nightly"])


@st.composite
def plans(draw):
    chosen = draw(st.lists(some_versions, unique=True, max_size=6))
    kinds = [draw(states) for _ in chosen]
    if kinds.count(ReleaseState.RECOMMENDED) > 1:
        kinds = [ReleaseState.AVAILABLE if kind is ReleaseState.RECOMMENDED else kind for kind in kinds]
    releases = [release(version, kind, at=i) for i, (version, kind) in enumerate(zip(chosen, kinds, strict=True))]
    rollouts = [
        rollout(
            draw(st.sampled_from(releases)),
            id=f"rol_{i}",
            share=draw(st.sampled_from([0, 30, 100])),
            labels=draw(st.sampled_from([{}, {"site": "north"}])),
            components=draw(st.sampled_from([None, ["device-0"], ["device-1"]])),
            state=draw(st.sampled_from(["active", "paused"])),
            at=draw(st.integers(0, 3)),
        )
        for i in range(draw(st.integers(0, 3)) if releases else 0)
    ]
    return plan(*releases, rollouts=rollouts)


@given(plans(), some_versions | st.none(), st.sampled_from(["north", "south"]))
def test_whatever_is_decided_a_withdrawn_release_is_never_the_answer_and_the_answer_does_not_change(
    whole, version, site
):
    asking = device(version, site=site)
    target = choose_target(whole, asking)
    withdrawn = {one.version for one in whole.releases if one.state is ReleaseState.WITHDRAWN}
    assert target.version not in withdrawn
    assert choose_target(plan(*whole.releases[::-1], rollouts=whole.rollouts[::-1]), asking) == target
    if target.version is not None and target.reason is not Reason.UP_TO_DATE:
        assert (target.url, target.sha256) == (f"https://fw.example/{target.version}", "0" * 64)


@given(plans(), some_versions | st.none())
def test_a_device_that_does_as_it_is_told_is_told_nothing_else(whole, version):
    target = choose_target(whole, device(version))
    if target.version is not None:
        assert choose_target(whole, device(target.version)).version == target.version
