"""A second, independent oracle of the KPI rules: slow, one bucket at a time, exact fractions, written from the rules alone.

It shares nothing with the kernel or the first oracle: no NumPy, no state carried from bucket to bucket; every bucket is
answered from the whole list of rows again.
"""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

DAY_US = 86_400_000_000
SECOND_US = 1_000_000
LOOKBACK_US = 35 * DAY_US
ESTIMATE_US = 30 * DAY_US
BAD = 2


@dataclass(frozen=True, kw_only=True)
class Question:
    """One series and what is known about it; rows are (measured_at_us, value or None, quality), strictly increasing."""

    rows: list
    edges_us: list
    kind: str = "gauge"
    nominal_us: int | None = None
    max_hold_us: int | None = None
    rollover_at: float | None = None
    max_rate: float | None = None
    classes: dict = field(default_factory=lambda: {1.0: "up", 0.0: "down"})
    now_us: int | None = None
    retired_us: int | None = None
    commissioned_us: int | None = None

    def clip(self, start_us, end_us):
        """Return S' and E', never negative in length."""
        if self.commissioned_us is not None:
            start_us = max(start_us, self.commissioned_us)
        for instant_us in (self.now_us, self.retired_us):
            if instant_us is not None:
                end_us = min(end_us, instant_us)
        return start_us, max(start_us, end_us)

    @property
    def period(self):
        return self.clip(self.edges_us[0], self.edges_us[-1])


def is_point(row):
    return row[2] != BAD and row[1] is not None


def find_points(rows):
    return [(t, Fraction(v)) for t, v, quality in rows if is_point((t, v, quality))]


def find_visible(question):
    """Return the rows that the look-back allows."""
    return [row for row in question.rows if row[0] >= question.edges_us[0] - LOOKBACK_US]


def find_interval(question):
    """Return (nominal interval or None, is it an estimate)."""
    if question.nominal_us is not None:
        return Fraction(question.nominal_us), False
    start_us, end_us = question.period
    times = [t for t, _ in find_points(question.rows) if start_us - ESTIMATE_US <= t < end_us]
    if len(times) < 10:
        return None, False
    steps = sorted(b - a for a, b in pairwise(times))
    middle = len(steps) // 2
    return (Fraction(steps[middle]) if len(steps) % 2 else Fraction(steps[middle - 1] + steps[middle], 2)), True


def find_max_hold(question):
    if question.max_hold_us is not None:
        return Fraction(question.max_hold_us)
    interval, _ = find_interval(question)
    return Fraction(DAY_US if interval is None else math.floor(3 * interval + Fraction(1, 2)))  # whole microseconds


def find_holds(question, start_us, end_us):
    """Return (value, held time inside) of every point that is ever held inside the bucket."""
    hold_us = find_max_hold(question)
    rows = find_visible(question)
    holds = []
    for place, row in enumerate(rows):
        if not is_point(row):
            continue
        until = row[0] + hold_us
        if place + 1 < len(rows):
            until = min(until, rows[place + 1][0])  # a bad row ends it too
        held = min(until, Fraction(end_us)) - max(row[0], start_us)
        if held > 0:
            holds.append((Fraction(row[1]), held))
    return holds


def find_quantile(values, share):
    ordered = sorted(values)
    rank = (len(ordered) - 1) * Fraction(share)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


# --- Counters ---------------------------------------------------------------------------------------------------------


def is_rollover(question, before, after):
    modulus = question.rollover_at
    if modulus is None or after >= before:
        return False
    if before > modulus:  # no reading of this counter; `modulus - previous + v` would be a negative amount
        return False
    return before >= Fraction(modulus) * Fraction(9, 10) and after <= Fraction(modulus) * Fraction(1, 10)


def judge_steps(question):
    """Return (what, from_us, to_us, amount) of each step between readings: counted, glitch or undecided."""
    readings = find_points(find_visible(question))
    steps = []
    line = readings[0] if readings else None
    for place in range(1, len(readings)):
        t_us, value = readings[place]
        following = [v for _, v in readings[place + 1 : place + 3]]
        before_us, before = line
        if steps and steps[-1][0] == "undecided":  # what follows an open question is open too
            steps.append(("undecided", before_us, t_us, None))
            continue
        if value >= before:
            if returns_from_spike(question, before, value, following):
                steps.append(("glitch", before_us, t_us, None))
                continue
            amount = value - before
        elif is_rollover(question, before, value):
            amount = Fraction(question.rollover_at) - before + value
        elif any(v >= before for v in following):
            steps.append(("glitch", before_us, t_us, None))
            continue
        elif len(following) < 2:
            steps.append(("undecided", before_us, t_us, None))
            continue
        else:
            amount = value
        line = (t_us, value)
        too_fast = question.max_rate is not None and amount * SECOND_US > Fraction(question.max_rate) * (
            t_us - before_us
        )
        steps.append(("glitch", before_us, t_us, None) if too_fast else ("counted", before_us, t_us, amount))
    return steps


def returns_from_spike(question, line, value, following):
    """Tell whether the reading after a jump, or the second one after it, is back on the earlier line."""
    if following and line <= following[0] < value and not is_rollover(question, value, following[0]):
        return True
    if len(following) < 2:
        return False
    second, third = following
    return second >= value and line <= third < value and not is_rollover(question, second, third)


# --- KPIs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bucket:
    """What is known about one bucket before any KPI: S', E', points inside, holds."""

    question: Question
    start_us: int
    end_us: int
    is_running: bool
    points: list
    holds: list

    @property
    def length(self):
        return Fraction(self.end_us - self.start_us)

    @property
    def covered(self):
        return sum((held for _, held in self.holds), Fraction(0))

    @property
    def n(self):
        return len(self.points)


def answer(question):
    """Return per bucket: n, coverage as share (None: no time), and {kpi: (value or None, status)}."""
    return [answer_bucket(question, a, b) for a, b in pairwise(question.edges_us)]


def answer_bucket(question, bucket_start_us, bucket_end_us):
    start_us, end_us = question.clip(bucket_start_us, bucket_end_us)
    bucket = Bucket(
        question=question,
        start_us=start_us,
        end_us=end_us,
        is_running=question.now_us is not None and start_us < end_us == question.now_us < bucket_end_us,
        points=[(t, v) for t, v in find_points(question.rows) if start_us <= t < end_us],
        holds=find_holds(question, start_us, end_us),
    )
    answers = answer_points(bucket) | {"completeness": answer_completeness(bucket)}
    answers["coverage"] = of_holds(bucket, 100 * bucket.covered / bucket.length if bucket.length else None, keeps=True)
    if question.kind == "delta":
        answers["total"] = of_points(bucket, sum(v for _, v in bucket.points))
    else:
        area = sum(v * held for v, held in bucket.holds)
        answers["time_weighted_mean"] = of_holds(bucket, area / bucket.covered if bucket.covered else None)
    if question.kind == "counter":
        answers |= answer_counter(bucket)
    if question.kind == "state":
        answers |= answer_states(bucket)
    if not bucket.length:
        answers = dict.fromkeys(answers, (None, "no_data"))
    share = bucket.covered / bucket.length if bucket.length else None
    return {"n": bucket.n, "share": share, "kpis": answers}


def of_points(bucket, value):
    if bucket.n == 0:
        return None, "no_data"
    if value is None:
        return None, "undefined"
    return value, "partial" if bucket.is_running else "ok"


def of_holds(bucket, value, *, keeps=False):
    if bucket.n == 0 and not bucket.holds:
        return (value if keeps else None), "no_data"
    if value is None:
        return None, "undefined"
    is_known = any(t < bucket.start_us for t, _, _ in find_visible(bucket.question))
    is_known = is_known or any(t == bucket.start_us for t, _ in bucket.points)
    is_cut = find_max_hold(bucket.question) > LOOKBACK_US and not is_known
    return value, "partial" if bucket.is_running or is_cut else "ok"


def answer_points(bucket):
    values = [v for _, v in bucket.points]
    count = of_points(bucket, bucket.n)
    answers = {"count": (0, "no_data") if bucket.n == 0 else count}
    names = ("min", "max", "mean", "std", "median", "p05", "p95", "first", "last", "change", "range")
    if not values:
        return answers | dict.fromkeys(names, (None, "no_data"))
    found = (
        min(values),
        max(values),
        sum(values) / len(values),
        find_deviation(values) if len(values) > 1 else None,
        find_quantile(values, "1/2"),
        find_quantile(values, "1/20"),
        find_quantile(values, "19/20"),
        values[0],
        values[-1],
        values[-1] - values[0],
        max(values) - min(values),
    )
    return answers | {name: of_points(bucket, value) for name, value in zip(names, found, strict=True)}


def find_deviation(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def answer_completeness(bucket):
    interval, _ = find_interval(bucket.question)
    if interval is None or bucket.length < interval:
        return None, "undefined"
    share = min(Fraction(1), bucket.n / (bucket.length / interval))
    return (0, "no_data") if bucket.n == 0 else of_points(bucket, 100 * share)


def answer_counter(bucket):
    inside = [step for step in judge_steps(bucket.question) if bucket.start_us <= step[2] < bucket.end_us]
    counted = [step for step in inside if step[0] == "counted"]
    if not counted:
        return dict.fromkeys(("counter_increase", "rate"), of_points(bucket, None))
    increase = sum(step[3] for step in counted)
    # Readings left out count neither in the increase nor as ends of the time it is divided by.
    from_us, to_us = counted[0][1], counted[-1][2]
    first_us = find_points(find_visible(bucket.question))[0][0]
    is_partial = bucket.is_running or any(step[0] == "undecided" for step in inside)
    is_partial |= bucket.start_us < first_us  # no predecessor, and the first reading is not at the start
    is_partial |= bucket.start_us - from_us > find_max_hold(bucket.question)
    status = "partial" if is_partial else "ok"
    return {
        "counter_increase": (increase, status),
        "rate": (increase / Fraction(to_us - from_us, SECOND_US), status),
    }


def answer_states(bucket):
    time_of = dict.fromkeys(("up", "down", "planned", "idle", "unknown"), Fraction(0))
    for value, held in bucket.holds:
        time_of[bucket.question.classes.get(float(value), "unknown")] += held
    up, down = time_of["up"], time_of["down"]
    known = up + down + time_of["planned"] + time_of["idle"]
    return {
        "availability": of_holds(bucket, 100 * up / (up + down) if up + down else None),
        "uptime": of_holds(bucket, up / SECOND_US, keeps=True),
        "downtime": of_holds(bucket, down / SECOND_US, keeps=True),
        "unknown_time": of_holds(bucket, (bucket.length - known) / SECOND_US, keeps=True),
    }
