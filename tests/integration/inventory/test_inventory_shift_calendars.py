import pytest

from gaugehouse.errors import NotFound
from gaugehouse.inventory import find_shift_calendar, get_shift_calendar, put_shift_calendar
from gaugehouse.measurements.shift_calendar import decode_shift_calendar, read_shift_calendar


def calendar(start="06:00"):
    early = {"name": "early", "start": start, "duration": "PT8H", "days": ["mon", "fri"]}
    content = {
        "timezone": "Europe/Berlin",
        "shifts": [early],
        "holidays": [{"day": "2026-12-25", "name": "Weihnachten"}],
    }
    return read_shift_calendar(content)


def put(database, project_id, start, author="max"):
    with database.transaction() as session:
        return put_shift_calendar(session, project_id, calendar(start), author=author)


def test_a_project_has_no_calendar_until_it_is_given_one(database, project_id):
    with database.reading() as session:
        assert find_shift_calendar(session, project_id) is None
        with pytest.raises(NotFound) as refusal:
            get_shift_calendar(session, project_id)
    assert refusal.value.code == "shift_calendar_not_found"


def test_every_change_is_a_version_and_all_of_them_stay(database, project_id, other_project_id):
    first = put(database, project_id, "06:00")
    second = put(database, project_id, "05:30", author="anna")
    put(database, other_project_id, "07:00")
    assert (first.version, second.version) == (1, 2)
    with database.reading() as session:
        assert get_shift_calendar(session, project_id) == second
        assert get_shift_calendar(session, project_id, version=1) == first
        assert decode_shift_calendar(first.calendar) == calendar("06:00")
        assert (first.author, second.author) == ("max", "anna")
        assert first.created_at <= second.created_at
        assert get_shift_calendar(session, other_project_id).version == 1
        for version in (0, 3, -1, 2**40):
            with pytest.raises(NotFound):
                get_shift_calendar(session, project_id, version=version)


def test_the_same_calendar_again_is_no_new_version(database, project_id):
    first = put(database, project_id, "06:00")
    assert put(database, project_id, "06:00", author="anna") == first
    assert put(database, project_id, "05:00").version == 2
    assert put(database, project_id, "06:00").version == 3  # back to an older one is a change
