"""Plans of a plant from outside: by the command line and over HTTP, with one server beside it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from functional.installation import ask_report, assert_problem
from functional.rows import deliver_well, read_answer

NIGHT = datetime(2026, 10, 24, 20, tzinfo=UTC)  # 22:00 in Berlin; clocks are put back at 03:00
HOUR = timedelta(hours=1)
CALENDAR = {
    "timezone": "Europe/Berlin",
    "shifts": [
        {
            "name": "early",
            "start": "06:00",
            "duration": "8h",
            "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        },
        {"name": "night", "start": "22:00", "duration": "8h", "days": ["sat", "sun"]},
    ],
    "holidays": [{"day": "2026-12-25", "name": "Weihnachten [1]"}],
}


@pytest.fixture(scope="module")
def plant(found):
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "1"}, workers=1).start()
    yield installation
    installation.stop()


@pytest.fixture(scope="module")
def calendar_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("calendar") / "shifts.json"
    path.write_text(json.dumps(CALENDAR))
    return path


def test_a_calendar_of_a_file_is_shown_and_can_be_set_again(plant, calendar_file):
    assert "no shift calendar" in plant.run("calendar", "show").stderr
    assert "version 1" in plant.run_well("calendar", "set", calendar_file, "--author", "anna")
    shown = plant.run_well("calendar", "show")
    for part in (
        "version 1 by anna",
        "Europe/Berlin",
        "night",
        "22:00",
        "06:00",
        "sat sun",
        "every day",
        "Weihnachten [1]",
    ):
        assert part in shown
    as_json = plant.run_well("calendar", "show", "--json")
    assert "version 1" in plant.run_well("calendar", "set", "-", stdin=as_json)  # the same: no new version
    changed = json.loads(as_json) | {"holidays": []}
    assert "version 2" in plant.run_well("calendar", "set", "-", stdin=json.dumps(changed))
    assert "Weihnachten" in plant.run_well("calendar", "show", "--version", "1")
    stored = plant.sign_in("max").get("/v1/shift-calendar").json()
    assert (stored["version"], stored["author"]) == (2, "operator")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"timezone": "UTC"}', "shifts"),
    ],
)
def test_a_file_that_is_no_calendar_is_refused_in_one_line(plant, text, words):
    done = plant.run("calendar", "set", "-", stdin=text)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_report_by_shift_follows_the_plants_clocks_over_the_change(plant, calendar_file):
    plant.run_well("calendar", "set", calendar_file)
    rows = [("mill", "load", NIGHT - timedelta(hours=20) + timedelta(minutes=30 * n), float(n), 0) for n in range(96)]
    deliver_well(plant.device(), rows)
    manager = plant.sign_in("max")
    state = ask_report(
        manager,
        period="2026-10-24/2026-10-26",
        timezone="Europe/Berlin",
        components=["mill"],
        kpis=["count"],
        bucket="shift",
    )
    answer = read_answer(manager.get(f"/v1/reports/{state['id']}/result"))
    found = [(row["bucket_start"], row["bucket_end"], row["value"]) for row in answer]
    assert found == [
        (NIGHT - 16 * HOUR, NIGHT - 8 * HOUR, 16),
        (NIGHT, NIGHT + 9 * HOUR, 18),  # the night with an hour more
        (NIGHT + 9 * HOUR, NIGHT + 17 * HOUR, 16),
        (NIGHT + 25 * HOUR, NIGHT + 27 * HOUR, 4),  # the part before midnight: the period ends there
    ]


def test_exclusions_are_added_listed_and_withdrawn(plant):
    manager = plant.sign_in("max")
    manager.post("/v1/components", json=[{"name": "saw"}, {"name": "drill"}])
    window = ["--start", "2026-11-20T06:00", "--end", "2026-11-20T08:00", "--timezone", "Europe/Berlin"]
    reason = ["--reason", "new blade"]
    printed = plant.run_well("exclusion", "add", *window, *reason, "--component", "saw,drill", "--author", "anna")
    exclusion_id = printed.strip()
    one = manager.get(f"/v1/exclusions/{exclusion_id}").json()
    assert (one["components"], one["start"], one["author"]) == (["drill", "saw"], "2026-11-20T05:00:00Z", "anna")
    listed = json.loads(plant.run_well("exclusion", "list", "--json"))
    assert [(each["id"], each["reason"]) for each in listed] == [(exclusion_id, "new blade")]
    assert exclusion_id in plant.run_well("exclusion", "list", "--component", "saw")
    assert "withdrawn by operator" in plant.run_well("exclusion", "withdraw", exclusion_id)
    assert exclusion_id not in plant.run_well("exclusion", "list")
    assert exclusion_id in plant.run_well("exclusion", "list", "--withdrawn")
    assert_problem(manager.get("/v1/exclusions/exc_none"), 404, "exclusion_not_found")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--component"),
        (["--all", "--component", "saw"], 2, "--component"),
        (["--component", "nobody"], 1, "nobody"),
        (["--all", "--kind", "party"], 1, "kind"),
        (["--all", "--author", ""], 1, "author"),
    ],
)
def test_exclusions_that_cannot_be_are_refused(plant, arguments, code, words):
    window = ["--start", "2026-11-20T06:00Z", "--end", "2026-11-20T08:00Z", "--reason", "x"]
    done = plant.run("exclusion", "add", *window, *arguments)
    assert done.returncode == code
    assert words in done.stderr
