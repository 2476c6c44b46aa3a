"""`gaugehouse report schedule|template` on a database, without a process of their own."""

import json
import re

import pytest

from gaugehouse.cli import scheduling, templating
from gaugehouse.cli.scheduling import ScheduleOptions
from gaugehouse.errors import AlreadyExists, NotFound, Refused

DEFINITION = {
    "title": "Pumps, weekly",
    "report": {"period": "last_week", "timezone": "Europe/Berlin", "kpis": ["mean"]},
    "formats": ["csv"],
    "targets": {"mean": {"upper": 40}},
    "destinations": [
        {"kind": "webhook", "url": "https://hooks.example.com/x", "secret": "at least sixteen characters"}
    ],
}


@pytest.fixture
def where(tmp_path):
    return {"data_dir": tmp_path / "data", "project": "default"}


@pytest.fixture
def save(where, tmp_path):
    def call(definition=DEFINITION, *, name="weekly", do=templating.add_template):
        path = tmp_path / "definition.json"
        path.write_text(definition if isinstance(definition, str) else json.dumps(definition))
        do(**where, name=name, path=path)

    return call


def add_schedule(where, **changes):
    options = {"name": "mondays", "template": "weekly", "every": "every Monday 06:00", "timezone": None}
    scheduling.add_schedule(
        ScheduleOptions(**where, **(options | {"catch_up": "latest", "catch_up_limit": 24} | changes))
    )


def read(capsys):
    return re.sub(r" +", " ", capsys.readouterr().out)


def test_a_template_is_shown_as_what_makes_it(where, save, capsys):
    save()
    assert "version 1" in read(capsys)
    templating.show_template(**where, name="weekly")
    printed = capsys.readouterr().out
    assert "sixteen" not in printed
    save(json.loads(printed) | {"title": "Pumps"}, do=templating.change_template)
    assert "version 2" in read(capsys)
    templating.list_templates(**where)
    assert "weekly Pumps version 2, 1 destinations" in read(capsys)
    templating.remove_template(**where, name="weekly")
    with pytest.raises(NotFound):
        templating.show_template(**where, name="weekly")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not valid JSON"),
        ("{}", "title"),
        (DEFINITION | {"formats": ["docx"]}, "formats"),
        (DEFINITION | {"report": {"period": "someday"}}, "someday"),
        (DEFINITION | {"destinations": [{"kind": "folder", "path": "../up"}]}, "GAUGEHOUSE_DELIVERY_DIR"),
    ],
)
def test_a_definition_that_cannot_be_is_refused_by_its_field(save, content, said):
    with pytest.raises(Refused, match=said):
        save(content)


def test_schedules_are_added_shown_paused_resumed_and_removed(where, save, capsys):
    save()
    add_schedule(where)
    assert "mondays weekly every Monday 06:00 Europe/Berlin - latest" in read(capsys)
    with pytest.raises(AlreadyExists):
        add_schedule(where)
    with pytest.raises(Refused, match="--catch-up"):
        add_schedule(where, name="other", catch_up="some")
    scheduling.pause_schedule(**where, name="mondays")
    assert "paused" in read(capsys)
    scheduling.resume_schedule(**where, name="mondays")
    scheduling.list_schedules(**where)
    assert "paused" not in read(capsys)
    scheduling.preview_schedule(**where, name="mondays", count=3)
    lines = read(capsys).strip().splitlines()
    assert len(lines) == 4
    assert all(re.match(r"Mon \d{4}-\d\d-\d\d 06:00 CES?T ", line) for line in lines[1:])
    scheduling.show_history(**where, name="mondays", count=5)
    scheduling.remove_schedule(**where, name="mondays")
    with pytest.raises(NotFound):
        scheduling.remove_schedule(**where, name="mondays")


def test_a_recurrence_is_tried(capsys):
    scheduling.preview_recurrence(every="every day 02:30 Europe/Berlin for last_week", timezone=None, count=4)
    assert len(read(capsys).strip().splitlines()) == 5
