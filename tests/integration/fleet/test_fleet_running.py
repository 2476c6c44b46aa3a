"""Versions in force from memory, against the events that say so: whatever order they come in, and after a retention."""

import random
from datetime import UTC, datetime

import pytest

from factories import event_batch, measurement_batch
from gaugehouse.config import Layout, Settings
from gaugehouse.fleet.firmware import find_events
from gaugehouse.fleet.running import Running, RunningVersions
from gaugehouse.lake import Lake
from gaugehouse.measurements.selection import from_epoch_us

JUNE_US = 1_780_272_000_000_000  # 2026-06-01
HOUR_US = 3_600_000_000


@pytest.fixture
def lake(tmp_path):
    settings = Settings(data_dir=tmp_path, segment_age_s=3600)
    lake = Lake.open(Layout(settings.data_dir), settings)
    yield lake
    lake.close()


def append(lake, *reports, project="p"):
    """Append (component, hour, body) events."""
    rows = [(component, "firmware", JUNE_US + hour * HOUR_US, body) for component, hour, body in reports]
    return lake.append_events(project, event_batch(rows))


def version(text, status="updated"):
    return {"version": text, "status": status}


def follow(lake):
    return RunningVersions(lake, clock=iter(range(10**6)).__next__)  # every look is a second after the one before


def all_of(versions, project="p"):
    return {component: text for component, _, text in versions.read_all(project)}


def test_only_new_events_of_the_kind_change_the_number(lake):
    assert lake.count_events("firmware") == 0
    append(lake, ("a", 0, version("1.0")), ("b", 0, version("1.0")))
    counted = lake.count_events("firmware")
    assert counted == 2
    append(lake, ("a", 0, version("1.0")))
    lake.append_events("p", event_batch([("a", "alarm", JUNE_US, None)]))
    lake.append_measurements("p", measurement_batch([("a", "firmware", JUNE_US, 1.0)]))
    lake.flush()
    assert lake.count_events("firmware") == counted
    append(lake, ("a", 1, version("1.0")), project="q")
    assert lake.count_events("firmware") == counted + 1


@pytest.mark.parametrize("is_flushed", [False, True])
def test_of_one_instant_the_last_to_come_counts_wherever_it_is_read(lake, is_flushed):
    followed = follow(lake)
    for text in ("1.1", "1.0", "1.2", "1.1.5"):
        append(lake, ("a", 0, version(text)))
        assert followed.find("p", "a").version == text
        if is_flushed:
            lake.flush()
        assert follow(lake).find("p", "a").version == text
        events = find_events(lake.pin(), "p", "a")
        assert events[-1].version == text


def test_bodies_of_others_attempts_and_odd_texts_are_no_versions(lake):
    append(
        lake,
        ("a", 0, {"firmware": "1.0"}),
        ("a", 1, "2.0"),
        ("a", 2, ["2.0"]),
        ("a", 3, None),
        ("a", 4, {"version": 2}),
        ("a", 5, {"version": ""}),
        ("a", 6, {"version": "x" * 300}),
        ("a", 7, version("2.0", "failed")),
        ("a", 8, {"to": "2.0"}),
    )
    assert follow(lake).find("p", "a") == Running(version="1.0", since=from_epoch_us(JUNE_US))
    assert [event.version for event in find_events(lake.pin(), "p", "a")] == ["1.0", "2.0"]
    append(lake, ("a", 9, version("2.0", "Installed")))
    assert follow(lake).find("p", "a").version == "2.0"


def test_followed_memory_agrees_with_the_events_in_any_order(lake):
    rng = random.Random(7)  # noqa: S311 - not for secrets
    followed, told = follow(lake), {}
    for step in range(60):
        reports = [
            (
                f"d{rng.randrange(5)}",
                rng.randrange(40),
                version(f"1.{rng.randrange(4)}", rng.choice(["updated", "failed", ""])),
            )
            for _ in range(rng.randrange(1, 4))
        ]
        append(lake, *reports)
        if step % 7 == 0:
            lake.flush()
        for component, hour, body in reports:
            if body["status"] != "failed" and hour > told.get(component, (-1, ""))[0]:
                told[component] = (hour, body["version"])
        now = all_of(followed)
        assert now == all_of(follow(lake))
        counts = followed.count("p")
        assert sum(counts.values()) == len(now)
        assert counts == {text: list(now.values()).count(text) for text in set(now.values())}
    assert set(now) == set(told)


def test_what_a_device_just_reported_counts_before_anybody_looks(lake):
    versions = RunningVersions(lake, clock=lambda: 0.0)  # looks once, and never again
    versions.note("p", "a", Running(version="0.1", since=from_epoch_us(JUNE_US)))  # nobody asked yet: nothing to keep
    assert versions.find("p", "a") is None
    versions.note("p", "a", Running(version="1.0", since=from_epoch_us(JUNE_US)))
    versions.note("p", "a", Running(version="0.9", since=from_epoch_us(JUNE_US - 1)))
    assert versions.find("p", "a").version == "1.0"
    assert versions.count("p") == {"1.0": 1}


def test_projects_do_not_see_each_other(lake):
    versions = follow(lake)
    append(lake, ("a", 0, version("1.0")))
    append(lake, ("a", 1, version("2.0")), ("b", 1, version("2.0")), project="q")
    assert (all_of(versions, "p"), all_of(versions, "q")) == ({"a": "1.0"}, {"a": "2.0", "b": "2.0"})


def test_what_retention_dropped_is_forgotten(lake):
    versions = follow(lake)
    append(lake, ("old", -24 * 40, version("0.9")), ("new", -24 * 40, version("0.9")), ("new", 1, version("1.0")))
    assert all_of(versions) == {"old": "0.9", "new": "1.0"}
    lake.flush()
    lake.retain("p", "events", datetime(2026, 6, 1, tzinfo=UTC))
    assert all_of(versions) == all_of(follow(lake)) == {"new": "1.0"}
    assert versions.count("p") == {"1.0": 1}
