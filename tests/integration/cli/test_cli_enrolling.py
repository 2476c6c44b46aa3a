"""`gaugehouse component enrol` without a process of its own."""

import csv
import json
import stat

import pytest
from sqlalchemy import select

from gaugehouse.audit import EntryFilter, find_entries
from gaugehouse.cli import enrolling
from gaugehouse.cli.enrolling import EnrolOptions, enrol_devices
from gaugehouse.config import Settings
from gaugehouse.database.tables import ApiKey, Component
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.installation import open_access, open_database
from gaugehouse.inventory import get_project


@pytest.fixture
def options(tmp_path):
    def make(text, keys="keys.csv", **wanted):
        devices = tmp_path / "devices.csv"
        devices.write_text(text, "utf-8")
        standard = {"data_dir": tmp_path / "data", "project": "default", "scopes": (), "expires_at": None}
        return EnrolOptions(**(standard | {"devices": devices, "keys": tmp_path / keys} | wanted))

    return make


@pytest.fixture
def house(tmp_path):
    database = open_database(Settings(data_dir=tmp_path / "data"))
    yield database
    database.dispose()


def read_keys(options):
    with options.keys.open(newline="") as file:
        return {row["component"]: row["key"] for row in csv.DictReader(file)}


def components(database):
    with database.reading() as session:
        return {one.name: (one.type, one.title) for one in session.scalars(select(Component))}


def test_the_file_holds_a_key_of_each_device_for_its_owners_eyes(house, options, tmp_path, monkeypatch):
    monkeypatch.setattr(enrolling, "DEVICES_PER_TRANSACTION", 2)
    given = options('component,type,title\npump 1,pump,Ölpumpe\n"a,b",,\nmeter-3,meter,third\n')
    enrol_devices(given)
    keys = read_keys(given)
    assert stat.S_IMODE(given.keys.stat().st_mode) == 0o600
    assert components(house) == {"pump 1": ("pump", "Ölpumpe"), "a,b": ("", ""), "meter-3": ("meter", "third")}
    access = open_access(Settings(data_dir=tmp_path / "data"), house)
    assert {name: access.caller_of_key(key).component for name, key in keys.items()} == {
        name: name for name in components(house)
    }


def test_it_is_told_in_the_audit_log_without_a_key(house, options, monkeypatch):
    monkeypatch.setattr(enrolling, "DEVICES_PER_TRANSACTION", 2)
    given = options("component\na\nb\nc\n")
    enrol_devices(given)
    with house.reading() as session:
        project_id = get_project(session, "default").id
        entries = find_entries(session, EntryFilter(project_id=project_id, action="device.enrol"), limit=10).entries
    told = [json.loads(one.details) for one in entries]
    assert [(one["first"], one["last"], one["keys"]) for one in told] == [("c", "c", 1), ("a", "b", 2)]
    assert not any(key[8:] in str(entries) for key in read_keys(given).values())


def test_a_second_run_adds_what_is_new_and_never_overwrites_keys(house, options):
    enrol_devices(options("component\na\nb\n"))
    with pytest.raises(AlreadyExists, match="shown once"):
        enrol_devices(options("component\na\nb\nc\n"))
    more = options("component\na\nb\nc\n", keys="more.csv")
    enrol_devices(more)
    assert set(read_keys(more)) == {"c"}
    assert set(components(house)) == {"a", "b", "c"}


def test_a_portions_keys_are_on_the_disk_before_they_count(house, options, monkeypatch):
    def fail(*_):
        raise OSError(28, "no space left")

    monkeypatch.setattr(enrolling, "_write_keys", fail)
    with pytest.raises(OSError, match="no space"):
        enrol_devices(options("component\na\n"))
    with house.reading() as session:
        assert session.scalars(select(ApiKey)).all() == []
    assert components(house) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names its columns"),
        ("a\nb\n", "names its columns"),
        ("component,colour\na,red\n", "names its columns"),
        ("component\n", "names no device"),
        ("component\na\nb\na\n", "line 4 .* is there twice"),
        ("component\na\n\x07\n", "line 3"),
        ("component,type\na\n", "line 2 .* 2 cells"),
        ("component,type\na,b,c\n", "line 2 .* 2 cells"),
        ('component\n"a\n', "CSV"),
    ],
)
def test_a_list_that_cannot_be_understood_changes_nothing(house, options, text, reason):
    given = options(text)
    with pytest.raises(Refused, match=reason):
        enrol_devices(given)
    assert components(house) == {}
    assert not given.keys.exists()


def test_a_list_that_is_not_there_and_a_place_that_cannot_be_written(house, options, tmp_path):
    with pytest.raises(NotFound, match="no file"):
        enrol_devices(options("component\na\n", devices=tmp_path / "none.csv"))
    with pytest.raises(Refused, match="cannot be written"):
        enrol_devices(options("component\na\n", keys="no/folder.csv"))
    with pytest.raises(NotFound, match="nowhere"):
        enrol_devices(options("component\na\n", project="nowhere"))
    assert components(house) == {}
