"""What is taken out of a period, per component."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.measurements.exclusions import Exclusion, ExclusionKind, find_excluded
from gaugehouse.measurements.selection import to_epoch_us

T0 = datetime(2026, 11, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
NAMES = ("press-1", "press-2", "press-3")


def window(start_h, end_h, components):
    return Exclusion(
        id="exc_1",
        kind=ExclusionKind.MAINTENANCE,
        components=components,
        start=T0 + timedelta(hours=start_h),
        end=T0 + timedelta(hours=end_h),
        reason="overhaul",
        author="max",
    )


def hours(windows):
    """Return the windows as (start, end) in hours after T0."""
    origin_us = to_epoch_us(T0)
    spans = zip(windows.starts_us.tolist(), windows.ends_us.tolist(), strict=True)
    return [((start - origin_us) / HOUR_US, (end - origin_us) / HOUR_US) for start, end in spans]


def test_windows_of_all_and_of_one_merge_and_are_clipped_to_the_period():
    windows = [window(-5, 2, None), window(1, 4, ("press-1",)), window(22, 30, ("press-1", "press-2"))]
    found = find_excluded(windows, NAMES, T0, T0 + timedelta(hours=24))
    assert hours(found["press-1"]) == [(0, 4), (22, 24)]
    assert hours(found["press-2"]) == [(0, 2), (22, 24)]
    assert hours(found["press-3"]) == [(0, 2)]


def test_components_without_windows_of_their_own_share_one_value():
    names = [f"pump-{number}" for number in range(1000)]
    found = find_excluded([window(1, 2, None), window(3, 4, ("pump-7",))], names, T0, T0 + timedelta(hours=24))
    assert len({id(windows) for windows in found.values()}) == 2


def test_without_exclusions_nothing_is_taken_out():
    assert [len(one) for one in find_excluded([], NAMES, T0, T0 + timedelta(days=1)).values()] == [0, 0, 0]


WINDOWS = st.lists(
    st.tuples(st.integers(-10, 30), st.integers(1, 10), st.none() | st.lists(st.sampled_from(NAMES), unique=True))
)


@given(WINDOWS)
def test_an_hour_is_out_when_any_window_of_the_component_says_so(drawn):
    windows = [window(start, start + length, None if who is None else tuple(who)) for start, length, who in drawn]
    found = find_excluded(windows, NAMES, T0, T0 + timedelta(hours=24))
    for name in NAMES:
        out = {int(hour) for start, end in hours(found[name]) for hour in range(int(start), int(end))}
        assert out == {
            hour
            for hour in range(24)
            if any(start <= hour < start + length and (who is None or name in who) for start, length, who in drawn)
        }
