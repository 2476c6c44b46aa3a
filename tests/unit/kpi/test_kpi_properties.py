"""Properties of facts: merging, threads, exactness."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugehouse.kpi import Facts, Owners, Want, evaluate, evaluate_groups, kernel, merge
from gaugehouse.measurements.metric import MetricAttributes, MetricKind
from unit.kpi.kpi_cases import EDGES, Case, Row, cases, facts_of

GROUPS = (
    "intervals",
    "spans",
    "points",
    "steps",
    "subgroups",
    "holds",
    "counters",
    "states",
    "state_us",
    "state_entries",
)
# Sums in another order, and how large they can be: in powers of the values and of the times. [s]
ROUNDED = {
    "sum": (1, 0),
    "mean": (1, 0),
    "m2": (2, 0),
    "t_mean_s": (0, 1),
    "t_m2": (0, 2),
    "t_value": (1, 1),
    "later_mean": (1, 0),
    "earlier_mean": (1, 0),
    "co_moment": (2, 0),
    "moving_range": (1, 0),
    "squares": (2, 0),
    "scaled_ranges": (1, 0),
    "border_value": (1, 0),
    "area": (1, 2),
    "linear_area": (1, 2),
    "increase": (1, 0),
}
TIME_S = 60 * 86_400 * 50
REPRESENTATION = {"increase_low", "sum_low", "end_row", "first_row"}


def assert_same_facts(merged: Facts, whole: Facts, scale: float) -> None:
    for group in GROUPS:
        ours, theirs = getattr(merged, group), getattr(whole, group)
        if ours.dtype.names is None:
            np.testing.assert_array_equal(ours, theirs, err_msg=group)
            continue
        for name in set(ours.dtype.names) - REPRESENTATION:
            if name in ROUNDED:
                value_power, time_power = ROUNDED[name]
                slack = scale**value_power * float(TIME_S) ** time_power
                np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, atol=1e-12 * slack, err_msg=name)
            else:
                np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    np.testing.assert_allclose(merged.increase, whole.increase, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(merged.gaps, whole.gaps)
    np.testing.assert_array_equal(merged.longest_gap_us, whole.longest_gap_us)
    np.testing.assert_array_equal(merged.edges_us, whole.edges_us)


@given(st.sampled_from(MetricKind).flatmap(cases), st.data())
@settings(max_examples=100)
def test_facts_of_adjacent_buckets_merge_into_the_facts_of_their_union(case, data):
    buckets = len(case.edges_s) - 1
    later = data.draw(st.lists(st.integers(1, max(1, buckets - 1)), unique=True, max_size=buckets - 1))
    starts = [0, *sorted(later)]
    union = [case.edges_s[start] for start in starts] + [case.edges_s[-1]]
    whole = facts_of([Case(**{**vars(case), "edges_s": tuple(union)})], want=Want.LINES | Want.TREND | Want.STEPS)
    scale = max([1.0, *(abs(row.value) for row in case.rows if row.value is not None)]) * (len(case.rows) + 1)
    assert_same_facts(merge(facts_of([case]), starts), whole, scale)


@given(st.lists(cases(MetricKind.STATE, edges=st.just((0, 600, 3_600))), min_size=1, max_size=6))
@settings(max_examples=25)
def test_one_two_and_four_threads_give_identical_bits(drawn):
    shared = [Case(**{**vars(case), "now_s": None}) for case in drawn]
    one, *others = [facts_of(shared, threads=threads) for threads in (1, 2, 4)]
    for other in others:
        assert all(getattr(one, group).tobytes() == getattr(other, group).tobytes() for group in GROUPS)
        assert one.quantiles.tobytes() == other.quantiles.tobytes()


def test_threads_share_many_series_of_very_different_length():
    rng = np.random.default_rng(7)
    attributes = MetricAttributes(kind=MetricKind.COUNTER)
    series = [
        Case(
            rows=tuple(Row(60 * k, float(v)) for k, v in enumerate(rng.integers(0, 50, size=int(size)).cumsum())),
            attributes=attributes,
            edges_s=(0, 1_000, 20_000),
        )
        for size in rng.integers(0, 300, size=40)
    ]
    one, *others = [facts_of(series, threads=threads) for threads in (1, 2, 4, 64)]
    for other in others:
        assert all(getattr(one, group).tobytes() == getattr(other, group).tobytes() for group in GROUPS)


ADVERSARIAL = st.one_of(
    st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=60),
    st.lists(st.floats(0, 1e-3).map(lambda noise: 1e9 + noise), min_size=2, max_size=60),
    st.lists(st.sampled_from([1e15, -1e15, 1.0, 1e-6, 0.1]), min_size=2, max_size=60),
    st.tuples(st.floats(-1e12, 1e12), st.integers(2, 60)).map(lambda pair: [pair[0]] * pair[1]),
)


@given(ADVERSARIAL)
@settings(max_examples=100)
def test_mean_has_13_digits_and_std_9_of_the_exact_rational_result(values):
    case = Case(tuple(Row(k, value) for k, value in enumerate(values)), MetricAttributes(), (0, 100))
    table = evaluate(facts_of([case]), [case.attributes], ["mean", "std"]).to_pylist()
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)
    assert abs(Fraction(table[0]["value"]) - mean) <= abs(mean) * Fraction(1, 10**13) + Fraction(1, 10**18)
    # Values that differ by less than their own rounding have no digits to compare.
    smallest = 1e-15 * max(abs(value) for value in values)
    assert table[1]["value"] == pytest.approx(math.sqrt(variance), rel=1e-9, abs=smallest)


DICE = random.Random(5)  # noqa: S311 - the same points in every run
MANY_POINTS = 100_000
HOSTILE = {
    "around 1e7, tiny spread": [1e7 + DICE.uniform(0, 1e-4) for _ in range(MANY_POINTS)],
    "around 1e7, a few last bits": [1e7 + DICE.randrange(3) * 2**-29 for _ in range(MANY_POINTS)],
    "alternating, nothing left": [(-1) ** k * (1e7 + DICE.uniform(0, 1e-3)) for k in range(MANY_POINTS)],
    "alternating, all sizes": [*((-1) ** k * 1e16 * DICE.random() for k in range(MANY_POINTS)), 1e-3],
}


def exact_moments(values):
    """Return the mean and the variance (n - 1) as fractions."""
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    return mean, sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)


def assert_digits(mean, std, values):
    """Check 13 digits of the mean and 9 of the standard deviation."""
    exact_mean, variance = exact_moments(values)
    assert abs(Fraction(mean) - exact_mean) <= abs(exact_mean) / 10**13
    assert abs(Fraction(std) ** 2 - variance) <= variance * 2 / 10**9


def split(values, parts):
    size = len(values) // parts
    return [values[at : at + size] for at in range(0, size * parts, size)]


@pytest.mark.parametrize("name", HOSTILE)
def test_1e5_hostile_points_keep_their_digits(name):
    values = HOSTILE[name]
    case = Case(tuple(Row(k, value) for k, value in enumerate(values)), MetricAttributes(), (0, len(values)))
    table = evaluate(facts_of([case], want=Want.NOTHING), [case.attributes], ["mean", "std"])
    assert_digits(*table["value"].to_pylist(), values)


@pytest.mark.parametrize("name", list(HOSTILE)[:3])
@pytest.mark.parametrize("parts", [2, 50])
def test_hostile_points_keep_their_digits_over_components_and_over_buckets(name, parts):
    lists = split(HOSTILE[name][:5_000], parts)
    values = [value for one in lists for value in one]
    series = [
        Case(tuple(Row(k, value) for k, value in enumerate(one)), MetricAttributes(), (0, len(values))) for one in lists
    ]
    owners = Owners(components=[str(k) for k in range(parts)], metrics=["m"] * parts)
    groups = dict.fromkeys(owners.components, "all")
    attributes = [one.attributes for one in series]
    table = evaluate_groups(facts_of(series), attributes, ["mean", "std"], groups, owners=owners)
    assert_digits(*table["value"].to_pylist(), values)
    edges_s = tuple(range(0, len(values) + 1, len(lists[0])))
    case = Case(tuple(Row(k, value) for k, value in enumerate(values)), MetricAttributes(), edges_s)
    table = evaluate(merge(facts_of([case], want=Want.NOTHING)), [case.attributes], ["mean", "std"])
    assert_digits(*table["value"].to_pylist(), values)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e7 + 0.1, -7.7e15, 1e-7])
def test_values_that_do_not_vary_have_no_deviation(value):
    for n in (2, 3, 7, 1_000, 4_097):
        case = Case(tuple(Row(k, value) for k in range(n)), MetricAttributes(), (0, n))
        assert facts_of([case], want=Want.NOTHING).points["m2"][0, 0] == 0


def test_a_long_series_of_tenths_has_an_exact_mean():
    case = Case(tuple(Row(k, 0.1) for k in range(50_000)), MetricAttributes(), (0, 50_000))
    facts = facts_of([case])
    assert facts.points["mean"][0, 0] == 0.1
    assert facts.points["m2"][0, 0] == 0.0


@given(cases(MetricKind.GAUGE), EDGES)
@settings(max_examples=50)
def test_rows_older_than_the_look_back_change_nothing(case, edges_s):
    start_s = edges_s[0] - 35 * 86_400
    recent = tuple(row for row in case.rows if row.at_s >= start_s)
    ours = facts_of([Case(**{**vars(case), "edges_s": edges_s})])
    theirs = facts_of([Case(**{**vars(case), "edges_s": edges_s, "rows": recent})])
    for group in ("intervals", "points", "steps", "subgroups", "holds"):
        assert getattr(ours, group).tobytes() == getattr(theirs, group).tobytes()


@pytest.mark.parametrize("size", [*range(1, 60), 1_000])
def test_all_quantiles_agree_with_numpy_in_any_order(size):
    rng = np.random.default_rng(size)
    rising = np.arange(size, dtype=float)
    for values in (rng.normal(size=size), rng.integers(0, 4, size).astype(float), rising, -rising, 0 * rising):
        ours = np.empty(len(kernel.QUANTILES))
        kernel.rank_quantiles(values.copy(), ours)
        np.testing.assert_allclose(ours, np.quantile(values, kernel.QUANTILES), rtol=1e-13, atol=1e-13)


def test_what_lasts_exactly_max_hold_is_no_gap_and_no_uncertain_failure():
    attributes = MetricAttributes(kind=MetricKind.STATE, max_hold_s=60.0)
    rows = (Row(60, 1.0), Row(120, 0.0), Row(180, 1.0), Row(241, 0.0))
    facts = facts_of([Case(rows, attributes, (0, 301))])
    states = facts.states[0, 0]
    assert (states["failures"], states["failures_uncertain"]) == (1, 1)
    assert (facts.gaps[0, 0], facts.longest_gap_us[0, 0]) == (1, 61_000_000)
