"""Shift calendars: read, written, refused."""

from datetime import date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.errors import Refused
from gaugehouse.measurements.shift_calendar import (
    WEEKDAYS,
    Holiday,
    Shift,
    ShiftCalendar,
    decode_shift_calendar,
    encode_shift_calendar,
    read_shift_calendar,
)

WORKING = ["mon", "tue", "wed", "thu", "fri"]


def shift(**changes):
    return {"name": "early", "start": "06:00", "duration": "PT8H", "days": WORKING} | changes


def calendar(*shifts, **changes):
    return {"timezone": "Europe/Berlin", "shifts": list(shifts) or [shift()]} | changes


def problem(content):
    """Return the field and the reason of a refusal."""
    with pytest.raises(Refused) as refusal:
        read_shift_calendar(content)
    assert refusal.value.code == "shift_calendar_refused"
    (named,) = refusal.value.fields["errors"]
    assert named["reason"] in refusal.value.message
    return named["field"], named["reason"]


def test_a_calendar_is_read_as_it_is_meant():
    read = read_shift_calendar(
        calendar(
            shift(),
            shift(name="night", start="22:30", duration="7h", days=["sun", "mon"], valid_from="2026-11-01"),
            holidays=[{"day": "2026-12-26"}, {"day": "2026-12-25", "name": "Christmas Day"}],
        )
    )
    assert read == ShiftCalendar(
        timezone="Europe/Berlin",
        shifts=(
            Shift(name="early", start=time(6), duration_min=480, days=frozenset(range(5))),
            Shift(
                name="night",
                start=time(22, 30),
                duration_min=420,
                days=frozenset({6, 0}),
                valid_from=date(2026, 11, 1),
            ),
        ),
        holidays=(Holiday(day=date(2026, 12, 25), name="Christmas Day"), Holiday(day=date(2026, 12, 26))),
    )


def test_it_is_written_in_one_canonical_form():
    encoded = encode_shift_calendar(read_shift_calendar(calendar(shift(duration="450m", days=["fri", "mon"]))))
    assert encoded["shifts"] == [
        {
            "name": "early",
            "start": "06:00",
            "duration": "PT7H30M",
            "days": ["mon", "fri"],
            "valid_from": None,
            "valid_until": None,
        }
    ]


def shifts_of(days):
    """Draw shifts that are valid always, or from and until one of some days."""
    return st.builds(
        Shift,
        name=st.sampled_from(["early", "late", "night", "Frühschicht 2"]),
        start=st.integers(0, 1439).map(lambda minute: time(*divmod(minute, 60))),
        duration_min=st.integers(1, 1440),
        days=st.frozensets(st.integers(0, 6), min_size=1),
        valid_from=st.none() | days,
        valid_until=st.none() | days,
    ).filter(lambda one: one.valid_from is None or one.valid_until is None or one.valid_from <= one.valid_until)


def calendars_of(days):
    return st.builds(
        ShiftCalendar,
        timezone=st.sampled_from(["UTC", "Asia/Kolkata"]),
        shifts=st.lists(shifts_of(days), min_size=1, max_size=3).map(tuple),
        holidays=st.lists(
            st.builds(Holiday, day=days, name=st.sampled_from(["", "1. Mai"])),
            unique_by=lambda holiday: holiday.day,
            max_size=3,
        ).map(lambda holidays: tuple(sorted(holidays, key=lambda holiday: holiday.day))),
    )


@given(calendars_of(st.dates(date(1970, 1, 1), date(8999, 12, 31))))
def test_what_was_written_is_read_again(drawn):
    encoded = encode_shift_calendar(drawn)
    assert decode_shift_calendar(encoded) == drawn
    assert set(encoded["shifts"][0]["days"]) <= set(WEEKDAYS)


@given(calendars_of(st.dates(date(2026, 11, 2), date(2026, 11, 15))))
@settings(max_examples=300)
def test_a_calendar_is_accepted_exactly_when_no_two_shifts_ever_meet(drawn):
    """Against a list of everything that takes place from two weeks before the first change to two weeks behind."""
    days = [date(2026, 10, 19) + timedelta(days=n) for n in range(42)]
    planned = [(one, datetime.combine(day, one.start)) for day in days for one in drawn.shifts if one.starts_on(day)]
    planned.sort(key=lambda pair: pair[1])
    meets = any(a + timedelta(minutes=one.duration_min) > b for (one, a), (_, b) in pairwise(planned))
    names = [(one.name, begin.date()) for one, begin in planned]
    content = encode_shift_calendar(drawn)
    if meets or len(set(names)) < len(names):
        assert problem(content)[0].startswith("shifts.")
    else:
        assert read_shift_calendar(content) == drawn


@pytest.mark.parametrize(
    ("content", "field", "words"),
    [
        (None, "", "not a JSON object"),
        ([], "", "not a JSON object"),
        ({"shifts": [shift()]}, "timezone", "missing"),
        (calendar(timezone="Europe/Atlantis"), "timezone", "no time zone is called"),
        (calendar(timezone=7), "timezone", "not text"),
        (calendar(zone="UTC"), "zone", "is not a field"),
        (calendar(shifts=[]), "shifts", "at least one"),
        (calendar(shifts={}), "shifts", "at least one"),
        (calendar(shifts={"a": 1}), "shifts", "not a list"),
        (calendar(*[shift()] * 101), "shifts", "at most 100"),
        (calendar("early"), "shifts.0", "not a JSON object"),
        (calendar(shift(end="14:00")), "shifts.0.end", "is not a field"),
        (calendar(shift(name="")), "shifts.0.name", "empty"),
        (calendar(shift(name=None)), "shifts.0.name", "missing"),
        (calendar(shift(start="24:00")), "shifts.0.start", "no time of day"),
        (calendar(shift(start="6:00")), "shifts.0.start", "write 06:00"),
        (calendar(shift(duration="PT24H1M")), "shifts.0.duration", "more than 24 hours"),
        (calendar(shift(duration="P1D")), "shifts.0.duration", "whole minutes"),
        (calendar(shift(duration="PT90S")), "shifts.0.duration", "whole minutes"),
        (calendar(shift(duration="shift")), "shifts.0.duration", "whole minutes"),
        (calendar(shift(duration="9" * 9999 + "h")), "shifts.0.duration", "whole minutes"),
        (calendar(shift(duration="PT8H" + " " * 99 + "x")), "shifts.0.duration", "whole minutes"),
        (calendar(shift(), shift(name="b", duration="0h")), "shifts.1.duration", "whole minutes"),
        (calendar(shift(days=[])), "shifts.0.days", "mon, tue"),
        (calendar(shift(days="mon")), "shifts.0.days", "mon, tue"),
        (calendar(shift(days=["mon", {}])), "shifts.0.days", "mon, tue"),
        (calendar(shift(days=["mon", "mon"])), "shifts.0.days", "twice"),
        (calendar(shift(valid_from="2026-02-29")), "shifts.0.valid_from", "no day"),
        (calendar(shift(valid_from="20260228")), "shifts.0.valid_from", "no day"),
        (calendar(shift(valid_until="1969-12-31")), "shifts.0.valid_until", "no day"),
        (calendar(shift(valid_from="2026-02-02", valid_until="2026-02-01")), "shifts.0.valid_until", "before"),
        (calendar(holidays=[{"name": "x"}]), "holidays.0.day", "missing"),
        (calendar(holidays=[{"day": "2026-12-25", "name": 7}]), "holidays.0.name", "not text"),
        (calendar(holidays=[{"day": "2026-12-25"}] * 2), "holidays", "twice"),
        (calendar(holidays=["2026-12-25"]), "holidays.0", "not a JSON object"),
        (calendar(holidays=[{"day": "2026-12-25"}] * 1001), "holidays", "at most 1,000"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(content, field, words):
    found_field, reason = problem(content)
    assert found_field == field
    assert words in reason


def test_an_overlap_is_named_with_both_shifts_and_the_day():
    content = calendar(shift(), shift(name="night", start="22:00", duration="PT9H", days=["sun"]))
    assert problem(content) == ("shifts.0", "'early' and 'night' overlap on a Monday")


def test_one_name_on_one_day_is_one_shift():
    content = calendar(shift(), shift(start="14:00", days=["fri", "sat"]))
    assert problem(content) == ("shifts.0.name", "two shifts called 'early' start on a Friday")


def test_shifts_that_are_valid_at_different_times_may_share_name_and_hours():
    old, new = shift(valid_until="2026-12-31"), shift(start="05:00", valid_from="2027-01-01")
    assert len(read_shift_calendar(calendar(old, new)).shifts) == 2
    assert problem(calendar(old, shift(start="05:00", valid_from="2026-12-31")))[0] == "shifts.0.name"


def test_touching_shifts_and_a_shift_of_24_hours_do_not_overlap():
    everything = [shift(name=f"s{hour}", start=f"{hour:02}:00", days=list(WEEKDAYS)) for hour in (6, 14, 22)]
    assert len(read_shift_calendar(calendar(*everything)).shifts) == 3
    whole = shift(duration="PT24H", days=list(WEEKDAYS))
    assert read_shift_calendar(calendar(whole)).shifts[0].duration_min == 1440
