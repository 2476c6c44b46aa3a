"""What a report must say, in NumPy over plain rows: written from the KPI rules, sharing nothing with the product."""

from itertools import pairwise

import numpy as np


def _seconds(moment, start):
    return (moment - start).total_seconds()


def good_points(rows):
    """Return (time, value) of the rows that are not bad, in order of time."""
    return [(row[2], row[3]) for row in sorted(rows, key=lambda row: row[2]) if row[4] < 2 and row[3] is not None]


def held(rows, start, end, max_hold_s):
    """Return arrays of values and of the seconds each stands inside [start, end): until the next row, bad or not."""
    ordered = sorted(rows, key=lambda row: row[2])
    times = np.array([_seconds(row[2], start) for row in ordered])
    until = np.minimum(np.append(times[1:], np.inf), times + max_hold_s)
    inside = np.minimum(until, _seconds(end, start)) - np.maximum(times, 0.0)
    keep = np.array([row[4] < 2 and row[3] is not None for row in ordered]) & (inside > 0)
    return np.array([row[3] for row in ordered], dtype=float)[keep], inside[keep]


def describe(rows, start, end):
    """Return the statistics of the points inside [start, end)."""
    inside = np.array([value for moment, value in good_points(rows) if start <= moment < end])
    return {
        "count": len(inside),
        "min": inside.min(),
        "max": inside.max(),
        "mean": inside.mean(),
        "std": inside.std(ddof=1),
        "median": np.quantile(inside, 0.5),
        "p05": np.quantile(inside, 0.05),
        "p95": np.quantile(inside, 0.95),
        "first": inside[0],
        "last": inside[-1],
        "change": inside[-1] - inside[0],
    }


def expect_gauge(rows, start, end, *, nominal_s):
    """Return every KPI of a gauge."""
    values, seconds = held(rows, start, end, 3 * nominal_s)
    length_s = _seconds(end, start)
    facts = describe(rows, start, end)
    return facts | {
        "time_weighted_mean": np.average(values, weights=seconds),
        "coverage": 100 * seconds.sum() / length_s,
        "completeness": 100 * min(1.0, facts["count"] * nominal_s / length_s),
    }


def expect_state(rows, start, end, *, nominal_s, up=(1.0,), down=(0.0,)):
    """Return the KPIs of a state metric."""
    values, seconds = held(rows, start, end, 3 * nominal_s)
    up_s, down_s = seconds[np.isin(values, up)].sum(), seconds[np.isin(values, down)].sum()
    return {
        "uptime": up_s,
        "downtime": down_s,
        "availability": 100 * up_s / (up_s + down_s),
        "unknown_time": _seconds(end, start) - up_s - down_s,
        "coverage": 100 * seconds.sum() / _seconds(end, start),
    }


def expect_counter(rows, start, end):
    """Return increase and rate of a counter whose every fall is a reset to zero; it was read before the start."""
    points = good_points(rows)
    steps = [(a, b) for a, b in pairwise(points) if start <= b[0] < end]
    increase = sum(b[1] - a[1] if b[1] >= a[1] else b[1] for a, b in steps)
    return {"counter_increase": increase, "rate": increase / _seconds(steps[-1][1][0], steps[0][0][0])}


def expect_delta(rows, start, end):
    facts = describe(rows, start, end)
    return {"total": facts["mean"] * facts["count"], "count": facts["count"]}
