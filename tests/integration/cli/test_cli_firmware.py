"""`gaugehouse firmware` and `fleet`, without a process of their own: decisions, what devices run, how they are."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from gaugehouse.cli import asking
from gaugehouse.cli.auditing import ListOptions, list_entries
from gaugehouse.cli.devices import StatusOptions, set_thresholds, show_fleet
from gaugehouse.cli.firmware import (
    ReleaseOptions,
    RolloutOptions,
    change_rollout_of,
    change_state,
    list_releases,
    list_rollouts,
    release_version,
    roll_out,
    show_behind,
    show_form,
    show_target,
    show_versions,
)
from gaugehouse.config import Settings
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.fleet.firmware import NewReport, store_report
from gaugehouse.fleet.heartbeats import Heartbeat, accept_heartbeat
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.runtime import open_runtime
from gaugehouse.upkeep import answering

NOW = datetime.now(UTC)


def report(runtime, component, version):
    new = NewReport(component=component, version=version, status="updated", occurred_at=NOW - timedelta(days=1))
    limits = runtime.delivery_limits("default")
    store_report(runtime.lake, runtime.registry, "default", new, limits=limits, visible=None)


def beat(runtime, component, *, battery_level, age):
    limits = runtime.delivery_limits("default")
    heartbeat = Heartbeat(
        component=component,
        measured_at_us=to_epoch_us(NOW - age),
        battery_level=battery_level,
        rssi=-50,
        is_online=True,
    )
    accept_heartbeat(runtime.room_for_measurements("default", limits), runtime.registry, heartbeat, component=None)


@pytest.fixture(autouse=True)
def no_log_file(monkeypatch):
    """A command is a process, which closes its log when it ends."""
    monkeypatch.setattr(asking, "configure_logs", lambda *_, **__: None)


@pytest.fixture
def installation(tmp_path):
    """Two devices on 1.0, one on 1.1; one well, one with a low battery, one silent."""
    runtime = open_runtime(Settings(data_dir=tmp_path / "data"))
    for component, version in (("d1", "1.0"), ("d2", "1.0"), ("d3", "1.1")):
        report(runtime, component, version)
    beat(runtime, "d1", battery_level=90, age=timedelta(0))
    beat(runtime, "d2", battery_level=5, age=timedelta(0))
    beat(runtime, "d3", battery_level=50, age=timedelta(days=1))
    runtime.close()
    return tmp_path / "data"


@pytest.fixture(params=["alone", "beside a server"])
def owned(request, installation):
    """The installation, which this process owns when a command asks, or somebody else."""
    if request.param == "alone":
        yield installation
        return
    runtime = open_runtime(Settings(data_dir=installation))
    with answering(runtime):
        yield installation
    runtime.close()


@pytest.fixture
def ask(capsys):
    """Return what asks a command for JSON."""

    def asked(command, *given, **named):
        capsys.readouterr()
        command(*given, **named)
        printed = capsys.readouterr().out
        return json.loads(printed[printed.index("{\n") :])  # logs, which nobody sent elsewhere, come before

    return asked


def release(data_dir, version, **wanted):
    standard = {"component_type": "", "is_recommended": False, "url": None, "sha256": None, "notes": ""}
    options = ReleaseOptions(**standard | wanted, version=version)
    release_version(options, data_dir=data_dir, project="default", as_json=True)


def begin(data_dir, version, **wanted):
    standard = {"component_type": "", "share_percent": 100.0, "labels": (), "components": None}
    options = RolloutOptions(**standard | wanted, release=version)
    roll_out(options, data_dir=data_dir, project="default", as_json=True)


def test_what_devices_run_and_are_told_is_asked_of_the_owner_whoever_that_is(owned, ask):
    here = {"data_dir": owned, "project": "default"}
    release(owned, "1.0")
    release(owned, "1.1", is_recommended=True)
    counted = ask(show_versions, **here, at=None, as_json=True)
    assert (counted["total_devices"], counted["behind_devices"]) == (3, 2)
    assert ask(show_versions, **here, at="2020-01-01T00:00:00Z", as_json=True)["total_devices"] == 0
    behind = ask(show_behind, **here, limit=10, as_json=True)["items"]
    assert [(one["component"], one["version"], one["recommended"]) for one in behind] == [
        ("d1", "1.0", "1.1"),
        ("d2", "1.0", "1.1"),
    ]
    assert ask(show_target, **here, component="d1", as_json=True) == {
        "component": "d1", "running": "1.0", "version": "1.1", "url": None, "sha256": None, "reason": "recommended",
        "rollout": None,
    }  # fmt: skip
    with pytest.raises(NotFound):
        show_behind(data_dir=owned, project="elsewhere", limit=1, as_json=True)


def test_the_fleet_is_asked_of_the_owner_whoever_that_is(owned, ask, capsys):
    def options(**wanted):
        standard = {"data_dir": owned, "project": "default", "state": None, "component": None, "limit": 20}
        return StatusOptions(**standard | wanted)

    found = ask(show_fleet, options(), True)
    counts = {name: found[name] for name in ("devices", "online", "at_risk", "offline", "total")}
    assert counts == {"devices": 3, "online": 1, "at_risk": 1, "offline": 1, "total": 2}
    assert {one["component"]: one["reasons"] for one in found["items"]} == {
        "d2": ["low_battery"],
        "d3": ["no_heartbeat"],
    }
    assert [one["component"] for one in ask(show_fleet, options(state="online"), True)["items"]] == ["d1"]
    assert [one["state"] for one in ask(show_fleet, options(component="d2"), True)["items"]] == ["at-risk"]
    show_fleet(options(limit=1), False)
    printed = capsys.readouterr().out
    assert "3 devices: 1 online, 1 at risk, 1 offline; average battery 48.3 %" in printed
    assert "and 1 more" in printed
    with pytest.raises(Refused, match="at-risk"):
        show_fleet(options(state="ill"), True)


def told(data_dir, capsys):
    capsys.readouterr()
    list_entries(ListOptions(project="default"), data_dir=data_dir, as_json=True)
    return [
        (one["action"], one["object_name"], json.loads(one["details"]))
        for one in reversed(json.loads(capsys.readouterr().out)["items"])
    ]


def test_from_release_to_withdrawal_each_decision_is_told(installation, ask, capsys):
    here = {"data_dir": installation, "project": "default"}
    release(installation, "1.0", url="https://fw.example/1.0?token=s3cret", sha256="a" * 64)
    release(installation, "1.1")
    begin(installation, "1.1", share_percent=10.0, components=("d1", "d2"), labels=("site:north",))
    (rollout,) = ask(list_rollouts, **here, with_ended=False, as_json=True)["items"]
    assert (rollout["version"], rollout["share_percent"], rollout["labels"]) == ("1.1", 10.0, {"site": "north"})
    change_rollout_of(rollout["id"], **here, share_percent=50.0)
    for state in ("paused", "active", "ended"):
        change_rollout_of(rollout["id"], **here, state=state)
    assert ask(list_rollouts, **here, with_ended=False, as_json=True)["items"] == []
    assert ask(list_rollouts, **here, with_ended=True, as_json=True)["total"] == 1
    change_state("recommended", "1.1", **here, component_type="")
    change_state("withdrawn", "1.1", **here, component_type="", because="bricks radios")
    states = {one["version"]: one for one in ask(list_releases, **here, state=None, as_json=True)["items"]}
    assert (states["1.1"]["state"], states["1.1"]["withdrawn_reason"]) == ("withdrawn", "bricks radios")
    assert ask(list_releases, **here, state="withdrawn", as_json=True)["total"] == 1
    change_state("available", states["1.1"]["id"], **here, component_type="")
    assert told(installation, capsys) == [
        ("firmware_release.create", "1.0", {"component_type": "", "state": "available"}),
        ("firmware_release.create", "1.1", {"component_type": "", "state": "available"}),
        (
            "firmware_rollout.create",
            "1.1",
            {"release": states["1.1"]["id"], "share_percent": 10.0, "labels": {"site": "north"}, "components": 2},
        ),
        ("firmware_rollout.change", "1.1", {"share_percent": 50.0}),
        ("firmware_rollout.change", "1.1", {"state": "paused"}),
        ("firmware_rollout.change", "1.1", {"state": "active"}),
        ("firmware_rollout.change", "1.1", {"state": "ended"}),
        ("firmware_release.change", "1.1", {"state": "recommended"}),
        ("firmware_release.change", "1.1", {"state": "withdrawn", "reason": "bricks radios"}),
        ("firmware_release.change", "1.1", {"state": "available"}),
    ]


def test_what_people_read_names_what_they_need(installation, capsys):
    here = {"data_dir": installation, "project": "default"}
    show_behind(**here, limit=10, as_json=False)
    assert "nobody is behind" in capsys.readouterr().out
    release(installation, "1.1", is_recommended=True)
    begin(installation, "1.1", share_percent=12.5)
    capsys.readouterr()
    show_behind(**here, limit=10, as_json=False)
    show_versions(**here, at=None, as_json=False)
    show_target(**here, component="d3", as_json=False)
    list_releases(**here, state=None, as_json=False)
    list_rollouts(**here, with_ended=False, as_json=False)
    printed = capsys.readouterr().out
    for text in ("should run", "never released", "3 devices said what they run, 2 are behind", "12.5 %", "rol_"):
        assert text in printed


def test_what_cannot_be_decided_is_refused(installation):
    here = {"data_dir": installation, "project": "default"}
    release(installation, "1.0")
    with pytest.raises(AlreadyExists):
        release(installation, "1.0")
    with pytest.raises(Refused, match="form"):
        release(installation, "latest")
    with pytest.raises(Refused, match="sha256"):
        release(installation, "1.2", sha256="a" * 63)
    with pytest.raises(Refused, match="url"):
        release(installation, "1.2", url="file:///etc/passwd")
    with pytest.raises(NotFound, match="no release"):
        change_state("withdrawn", "1.0", **here, component_type="pump")
    with pytest.raises(NotFound, match="no release"):
        begin(installation, "9.9")
    with pytest.raises(NotFound, match="no rollout"):
        change_rollout_of("rol_0", **here, state="ended")
    with pytest.raises(Refused, match="label"):
        begin(installation, "1.0", labels=("north",))


def test_the_form_and_the_thresholds_are_shown_and_set(installation, ask, capsys):
    here = {"data_dir": installation, "project": "default"}
    show_form("FW{number}", **here)
    show_form(None, **here)
    assert capsys.readouterr().out.split() == ["FW{number}", "FW{number}"]
    before = ask(set_thresholds, {"offline_after_s": None}, **here, as_json=True)
    assert before["offline_after_s"] == 900.0
    set_thresholds({"offline_after_s": "1h", "weak_rssi_dbm": -70.0, "low_battery_percent": None}, **here, as_json=True)
    after = ask(set_thresholds, {}, **here, as_json=True)
    assert after == before | {"offline_after_s": 3600.0, "weak_rssi_dbm": -70.0}
    with pytest.raises(Refused, match="low_battery_percent"):
        set_thresholds({"low_battery_percent": 101.0}, **here, as_json=True)
    assert [action for action, *_ in told(installation, capsys)] == ["firmware_form.change", "thresholds.change"]
