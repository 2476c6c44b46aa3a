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
HOUR_S = 3_600
DAY_S = 86_400
# AIAG SPC 2nd edition, table of constants: d2.
MEAN_RANGES = dict(
    enumerate(
        (
            *(1.128, 1.693, 2.059, 2.326, 2.534, 2.704, 2.847, 2.970, 3.078, 3.173, 3.258, 3.336),
            *(3.407, 3.472, 3.532, 3.588, 3.640, 3.689, 3.735, 3.778, 3.819, 3.858, 3.895, 3.931),
        ),
        start=2,
    )
)


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
    excluded_us: tuple = ()
    silent_us: tuple = ()
    lsl: float | None = None
    usl: float | None = None
    subgroup: tuple = (0, 0)  # points, length [us]

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


def cut_out(windows, start_us, end_us):
    """Return how much of a time lies in none of the windows, which may overlap."""
    borders = sorted({start_us, end_us, *(at for window in windows for at in window if start_us < at < end_us)})
    left = [b - a for a, b in pairwise(borders) if not any(start <= a and b <= end for start, end in windows)]
    return sum(left, Fraction(0)) if start_us < end_us else Fraction(0)


def is_excluded(question, at_us):
    return any(start <= at_us < end for start, end in question.excluded_us)


def find_counted(question, start_us, end_us):
    return cut_out(question.excluded_us, start_us, end_us)


def is_point(row):
    return row[2] != BAD and row[1] is not None


def find_readings(rows):
    return [(t, Fraction(v)) for t, v, quality in rows if is_point((t, v, quality))]


def find_points(question):
    """Return the points that count, of all rows."""
    return [(t, v) for t, v in find_readings(question.rows) if not is_excluded(question, t)]


def find_visible(question):
    """Return the rows that the look-back allows."""
    return [row for row in question.rows if row[0] >= question.edges_us[0] - LOOKBACK_US]


def find_interval(question):
    """Return (nominal interval or None, is it an estimate)."""
    if question.nominal_us is not None:
        return Fraction(question.nominal_us), False
    start_us, end_us = question.period
    times = [t for t, _ in find_points(question) if start_us - ESTIMATE_US <= t < end_us]
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
        if not is_point(row) or is_excluded(question, row[0]):
            continue
        until = row[0] + hold_us
        if place + 1 < len(rows):
            until = min(until, rows[place + 1][0])  # a bad row ends it too
        windows = (*question.excluded_us, *question.silent_us)
        held = cut_out(windows, Fraction(max(row[0], start_us)), min(until, Fraction(end_us)))
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
    """Return (what, from_us, to_us, amount, ...) of each step between readings: counted, glitch or undecided."""
    readings = find_readings(find_visible(question))
    steps = []
    line = readings[0] if readings else None
    for place in range(1, len(readings)):
        t_us, value = readings[place]
        following = [v for _, v in readings[place + 1 : place + 3]]
        before_us, before = line
        name = "rise"
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
            name = "reset"
        line = (t_us, value)
        too_fast = question.max_rate is not None and amount * SECOND_US > Fraction(question.max_rate) * (
            t_us - before_us
        )
        steps.append(("glitch", before_us, t_us, None) if too_fast else ("counted", before_us, t_us, amount, name))
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
        return find_counted(self.question, self.start_us, self.end_us)

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
        points=[(t, v) for t, v in find_points(question) if start_us <= t < end_us],
        holds=find_holds(question, start_us, end_us),
    )
    answers = answer_points(bucket) | answer_silence(bucket)
    if question.kind == "delta":
        answers["total"] = of_points(bucket, sum(v for _, v in bucket.points))
    else:
        answers |= answer_holds(bucket) | answer_limits(bucket)
    if question.kind in {"gauge", "delta"}:
        answers |= answer_capability(bucket)
    if question.kind != "state":
        answers |= answer_trend(bucket)
    if question.kind == "counter":
        answers |= answer_counter(bucket)
    if question.kind == "state":
        answers |= answer_states(bucket)
    if not bucket.length:
        # What a missing limit says, it says of every period.
        limits = {"cp": 2, "pp": 2, "cp_ranges": 2, "cpk": 1, "ppk": 1, "cpk_ranges": 1}
        missing = {name for name in answers if limits.get(name, 0) > count_limits(question)}
        answers = {name: (None, "undefined" if name in missing else "no_data") for name in answers}
    share = bucket.covered / bucket.length if bucket.length else None
    return {"n": bucket.n, "share": share, "kpis": answers}


def of_points(bucket, value):
    if bucket.n == 0:
        return None, "no_data"
    if value is None:
        return None, "undefined"
    return value, "partial" if bucket.is_running else "ok"


def of_count(bucket, value):
    """Return a number that is honest in silence."""
    return (value, "no_data") if bucket.n == 0 else of_points(bucket, value)


def of_holds(bucket, value, *, keeps=False):
    if bucket.n == 0 and not bucket.holds:
        return (value if keeps else None), "no_data"
    if value is None:
        return None, "undefined"
    is_known = any(t < bucket.start_us for t, _, _ in find_visible(bucket.question))
    first_us = min([t for t, _ in bucket.points], default=bucket.end_us)
    is_known = is_known or not find_counted(bucket.question, bucket.start_us, first_us)
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


def answer_silence(bucket):
    question = bucket.question
    interval, _ = find_interval(question)
    slots = 0 if interval is None else len({(t - question.edges_us[0]) // interval for t, _ in bucket.points})
    marks = [bucket.start_us, *(t for t, _ in bucket.points), bucket.end_us]
    gaps = [find_counted(question, a, b) for a, b in pairwise(marks)]
    long = [gap for gap in gaps if gap > find_max_hold(question)]
    inside = [row for row in question.rows if bucket.start_us <= row[0] < bucket.end_us]
    bad = sum(not is_point(row) and not is_excluded(question, row[0]) for row in inside)
    covered = 100 * bucket.covered / bucket.length if bucket.length else None
    return {
        "completeness": of_expected(bucket, bucket.n, interval),
        "completeness_slots": of_expected(bucket, slots, interval),
        "coverage": of_holds(bucket, covered, keeps=True),
        "gap_count": of_count(bucket, len(long)),
        "longest_gap": of_count(bucket, max(long, default=Fraction(0)) / SECOND_US),
        "bad_count": of_count(bucket, bad),
        "late": (None, "undefined"),  # no bound is set
    }


def of_expected(bucket, found, interval):
    if interval is None or bucket.length < interval:
        return None, "undefined"
    return of_count(bucket, 100 * min(Fraction(1), found / (bucket.length / interval)))


# --- Holds, lines, limits ---------------------------------------------------------------------------------------------


def answer_holds(bucket):
    area = sum(v * held for v, held in bucket.holds) / SECOND_US if bucket.holds else None
    mean = None if area is None else area * SECOND_US / bucket.covered
    line_area, line_length = find_lines(bucket)
    line_mean = line_area / line_length if line_length and bucket.holds else None
    return {
        "time_weighted_mean": of_holds(bucket, mean),
        "time_weighted_mean_linear": of_holds(bucket, line_mean),
        "integral": of_holds(bucket, area),
        "integral_hours": of_holds(bucket, None if area is None else area / HOUR_S),
        "integral_linear": of_holds(bucket, line_area / SECOND_US if bucket.holds else None),
    }


def find_lines(bucket):
    """Return area and length of the straight lines, piece by piece between all borders of windows."""
    question = bucket.question
    windows = (*question.excluded_us, *question.silent_us)
    area, length = Fraction(0), Fraction(0)
    for before, after in pairwise(find_visible(question)):
        (a_us, a, _), (b_us, b, _) = before, after
        both = all(is_point(row) and not is_excluded(question, row[0]) for row in (before, after))
        if not both or b_us - a_us > find_max_hold(question):
            continue
        from_us, to_us = max(a_us, bucket.start_us), min(b_us, bucket.end_us)
        inner = [at for window in windows for at in window if from_us < at < to_us]
        for left, right in pairwise(sorted({from_us, to_us, *inner}) if from_us < to_us else []):
            if cut_out(windows, left, right):
                middle = Fraction(left + right - 2 * a_us, 2 * (b_us - a_us))
                area += (Fraction(a) + (Fraction(b) - Fraction(a)) * middle) * (right - left)
                length += right - left
    return area, length


def count_limits(question):
    return (question.lsl is not None) + (question.usl is not None)


def answer_limits(bucket):
    lsl, usl = bucket.question.lsl, bucket.question.usl
    above = sum((held for v, held in bucket.holds if usl is not None and v > usl), Fraction(0))
    below = sum((held for v, held in bucket.holds if lsl is not None and v < lsl), Fraction(0))
    answers = {}
    for side, time, has_limit in (
        ("above", above, usl is not None),
        ("below", below, lsl is not None),
        ("outside", above + below, count_limits(bucket.question) > 0),
    ):
        share = 100 * time / bucket.covered if bucket.covered else None
        both = (of_holds(bucket, time / SECOND_US, keeps=True), of_holds(bucket, share))
        names = (f"time_{side}", f"time_{side}_share")
        answers |= dict(zip(names, both if has_limit else [(None, "undefined")] * 2, strict=True))
    return answers


# --- Capability, trend ------------------------------------------------------------------------------------------------


def find_pairs(bucket):
    """Return (earlier, later, is the earlier one inside) of pairs at most max hold apart, the later one inside."""
    points = [(t, v) for t, v in find_points(bucket.question) if t >= bucket.question.edges_us[0] - LOOKBACK_US]
    hold_us = find_max_hold(bucket.question)
    return [
        (a, b, a_us >= bucket.start_us)
        for (a_us, a), (b_us, b) in pairwise(points)
        if bucket.start_us <= b_us < bucket.end_us and b_us - a_us <= hold_us
    ]


def find_subgroups(bucket):
    """Return the values of each subgroup whose last point lies in the bucket."""
    question = bucket.question
    size, length_us = question.subgroup
    spans = [question.clip(a, b) for a, b in pairwise(question.edges_us)]
    points = [(t, v) for t, v in find_points(question) if any(a <= t < b for a, b in spans)]
    groups = {}
    for place, (t, v) in enumerate(points):
        key = place // size if size else (t - question.edges_us[0]) // length_us if length_us else None
        if key is not None:
            groups.setdefault(key, []).append((t, v))
    whole = [one for one in groups.values() if (len(one) == size if size else len(one) > 1)]
    return [[v for _, v in one] for one in whole if bucket.start_us <= one[-1][0] < bucket.end_us]


def answer_capability(bucket):
    values = [v for _, v in bucket.points]
    groups, pairs = find_subgroups(bucket), find_pairs(bucket)
    within = None
    if groups:
        squares = sum(sum((v - sum(one) / len(one)) ** 2 for v in one) for one in groups)
        within = math.sqrt(squares / sum(len(one) - 1 for one in groups))
    elif pairs:
        within = float(sum(abs(b - a) for a, b, _ in pairs) / len(pairs)) / 1.128
    by_ranges = None
    if groups and max(map(len, groups)) <= 25:
        by_ranges = sum(float(max(one) - min(one)) / MEAN_RANGES[len(one)] for one in groups) / len(groups)
    r1 = find_autocorrelation(values, pairs)
    answers = {
        "std_within": of_points(bucket, within),
        "std_within_ranges": of_points(bucket, by_ranges),
        "autocorrelation": of_points(bucket, r1),
    }
    overall = find_deviation(values) if len(values) > 1 else None
    for cp, cpk, deviation in (("cp", "cpk", within), ("cp_ranges", "cpk_ranges", by_ranges), ("pp", "ppk", overall)):
        answers[cp], answers[cpk] = of_indices(bucket, deviation)
    for name in ("cp", "cpk"):
        value, _ = answers[name]
        if value is not None and not groups and r1 is not None and r1 > Fraction(1, 2):
            answers[name] = value, "partial"
        if value is not None and not groups and r1 == Fraction(1, 2):
            answers[name] = value, None  # rounding may tip it either way
    return answers


def find_autocorrelation(values, pairs):
    inner = [(a, b) for a, b, is_inside in pairs if is_inside]
    if not inner or min(values) == max(values):
        return None
    mean = sum(values) / len(values)
    return sum((a - mean) * (b - mean) for a, b in inner) / sum((v - mean) ** 2 for v in values)


def of_indices(bucket, deviation):
    lsl, usl = bucket.question.lsl, bucket.question.usl
    if count_limits(bucket.question) == 0:
        return (None, "undefined"), (None, "undefined")
    if bucket.n == 0 or not deviation:
        missing = of_points(bucket, None)
        return missing if count_limits(bucket.question) == 2 else (None, "undefined"), missing
    mean = sum(v for _, v in bucket.points) / bucket.n
    rooms = [float(usl - mean)] if usl is not None else []
    rooms += [float(mean - Fraction(lsl))] if lsl is not None else []
    both = (usl - lsl) / (6 * deviation) if len(rooms) == 2 else None
    return of_points(bucket, both), of_points(bucket, min(rooms) / (3 * deviation))


def answer_trend(bucket):
    times = [Fraction(t - bucket.start_us, SECOND_US) for t, _ in bucket.points]
    values = [v for _, v in bucket.points]
    if len(times) < 2:
        return dict.fromkeys(("trend", "trend_r2"), of_points(bucket, None))
    t_mean, mean = sum(times) / len(times), sum(values) / len(values)
    t_squares, squares = sum((t - t_mean) ** 2 for t in times), sum((v - mean) ** 2 for v in values)
    products = sum((t - t_mean) * (v - mean) for t, v in zip(times, values, strict=True))
    return {
        "trend": of_points(bucket, DAY_S * products / t_squares),
        "trend_r2": of_points(bucket, products**2 / (t_squares * squares) if squares else None),
    }


def answer_counter(bucket):
    question = bucket.question
    inside = [step for step in judge_steps(question) if bucket.start_us <= step[2] < bucket.end_us]
    inside = [step for step in inside if not is_excluded(question, step[2])]
    counted = [step for step in inside if step[0] == "counted"]
    glitches = sum(step[0] == "glitch" for step in inside)
    told = {
        "counter_resets": of_count(bucket, sum(step[4] == "reset" for step in counted)),
        "counter_glitches": of_count(bucket, glitches),
    }
    if not counted:
        return told | dict.fromkeys(("counter_increase", "rate", "rate_per_hour"), of_points(bucket, None))
    increase = sum(step[3] for step in counted)
    # Readings left out count neither in the increase nor as ends of the time it is divided by.
    from_us, to_us = counted[0][1], counted[-1][2]
    first_us = find_readings(find_visible(question))[0][0]
    is_partial = bucket.is_running or any(step[0] == "undecided" for step in inside)
    is_partial |= bucket.start_us < first_us  # no predecessor, and the first reading is not at the start
    is_partial |= bucket.start_us - from_us > find_max_hold(question)
    is_partial |= glitches > 1 and glitches > sum(step[3] > 0 for step in counted)
    status = "partial" if is_partial else "ok"
    length = find_counted(question, from_us, to_us) / SECOND_US
    rate = increase / length if length else None
    return told | {
        "counter_increase": (increase, status),
        "rate": (rate, status if length else "undefined"),
        "rate_per_hour": (rate and HOUR_S * rate, status if length else "undefined"),
    }


# --- States -----------------------------------------------------------------------------------------------------------


def answer_states(bucket):
    time_of = dict.fromkeys(("up", "down", "planned", "idle"), Fraction(0))
    for value, held in bucket.holds:
        name = name_class(bucket.question, value)
        if name in time_of:
            time_of[name] += held
    up, down = time_of["up"], time_of["down"]
    time_of["unknown"] = bucket.length - sum(time_of.values())
    failures = tell_failures(bucket)
    repairs = [one for one in tell_repairs(bucket.question) if bucket.start_us <= one[1] < bucket.end_us]
    length_h = 1 / Fraction(SECOND_US * HOUR_S)
    mean = sum(one[2] for one in repairs) * length_h / len(repairs) if repairs else None
    mttr, status = of_holds(bucket, mean)
    if mttr is not None and any(is_cut for *_, is_cut in repairs):
        status = "partial"
    answers = {
        "availability": of_holds(bucket, 100 * up / (up + down) if up + down else None),
        "uptime": of_holds(bucket, up / SECOND_US, keeps=True),
        "downtime": of_holds(bucket, down / SECOND_US, keeps=True),
        "failures": of_holds(bucket, failures.count("certain"), keeps=True),
        "failures_uncertain": of_holds(bucket, failures.count("uncertain"), keeps=True),
        "mtbf": of_holds(bucket, up * length_h / failures.count("certain") if "certain" in failures else None),
        "mtbf_fe_plus_1": of_holds(bucket, up * length_h / (failures.count("certain") + 1), keeps=True),
        "mttr": (mttr, status),
    }
    for name in ("planned", "idle", "unknown"):
        share = 100 * time_of[name] / bucket.length if bucket.length else None
        answers[f"{name}_time"] = of_holds(bucket, time_of[name] / SECOND_US, keeps=True)
        answers[f"{name}_share"] = of_holds(bucket, share, keeps=True)
    return answers


def name_class(question, value):
    return question.classes.get(float(value), "unknown")


def is_quiet(question, from_us, to_us):
    """Say whether for some counted time between two points nothing was known: too long, or no sign of life."""
    counted = find_counted(question, from_us, to_us)
    alive = cut_out((*question.excluded_us, *question.silent_us), from_us, to_us)
    return counted > find_max_hold(question) or alive < counted


def find_seen(question):
    """Return (instant, class) of the points from the look-back on."""
    points = [(t, v) for t, v in find_points(question) if t >= question.edges_us[0] - LOOKBACK_US]
    return [(t, name_class(question, v)) for t, v in points]


def tell_failures(bucket):
    return [
        "uncertain" if is_quiet(bucket.question, a_us, b_us) else "certain"
        for (a_us, a), (b_us, b) in pairwise(find_seen(bucket.question))
        if (a, b) == ("up", "down") and bucket.start_us <= b_us < bucket.end_us
    ]


def tell_repairs(question):
    """Return (begin, end, counted length, did nobody see the begin) of the down intervals that end at a known state."""
    bad_us = [row[0] for row in question.rows if not is_point(row) and not is_excluded(question, row[0])]
    told, begin, is_cut, previous = [], None, False, None
    for t, name in find_seen(question):
        lost = previous is None or is_quiet(question, previous[0], t) or any(previous[0] < at < t for at in bad_us)
        if lost:
            begin = None
        if name == "down":
            if begin is None:
                begin, is_cut = t, lost or previous[1] == "unknown"
        else:
            if begin is not None and name != "unknown":
                told.append((begin, t, find_counted(question, begin, t), is_cut))
            begin = None
        previous = (t, name)
    return told
