"""An independent, slow and obvious reading of the KPI rules: plain Python over lists, exact fractions for sums.

Written from the rules, not from the kernel: hold intervals are built first and then cut by each bucket; a counter is
read as a story from its first reading on; nothing is carried from bucket to bucket.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median

import numpy as np

from gaugehouse.measurements.metric import MetricKind, StateClass
from unit.kpi.kpi_cases import DAY_S, STATE_CLASSES, to_us

SECOND_US = 1_000_000
HOUR_S = 3_600
# AIAG SPC 2nd edition, Appendix E: d2 by the size of a subgroup.
D2_TEXT = """1.128 1.693 2.059 2.326 2.534 2.704 2.847 2.970 3.078 3.173 3.258 3.336 3.407 3.472 3.532 3.588 3.640 3.689
3.735 3.778 3.819 3.858 3.895 3.931"""
D2 = {size: float(text) for size, text in enumerate(D2_TEXT.split(), start=2)}


@dataclass
class Bucket:
    start_us: int
    end_us: int

    def holds(self, at_us):
        return self.start_us <= at_us < self.end_us


def is_known(state):
    return STATE_CLASSES.get(state, StateClass.UNKNOWN) is not StateClass.UNKNOWN


class Oracle:
    """All facts of one case; each method answers one fact of one bucket."""

    def __init__(self, case):
        self.case = case
        first_us = to_us(case.edges_s[0]) - 35 * DAY_S * SECOND_US
        everything = [(to_us(row.at_s), row.value, row.quality) for row in case.rows]
        self.excluded = [(to_us(start_s), to_us(end_s)) for start_s, end_s in case.excluded_s]
        self.unheld = [*self.excluded, *((to_us(start_s), to_us(end_s)) for start_s, end_s in case.unheld_s)]
        seen = [(at_us, value if quality < 2 else None) for at_us, value, quality in everything if at_us >= first_us]
        self.readings = [(at_us, value) for at_us, value in seen if value is not None]
        self.rows = [(at_us, None if self.is_excluded(at_us) else value) for at_us, value in seen]
        self.points = [(at_us, value) for at_us, value in self.rows if value is not None]
        self.now_us = math.inf if case.now_s is None else to_us(case.now_s)
        self.buckets = [self._clip(a, b) for a, b in pairwise(case.edges_s)]
        self.nominal_us, self.estimated = self._find_interval()
        self.max_hold_us = self._find_max_hold()

    def is_excluded(self, at_us):
        return any(start_us <= at_us < end_us for start_us, end_us in self.excluded)

    @staticmethod
    def outside(windows, start_us, end_us):
        """Return the pieces of a time that lie in none of the windows."""
        pieces = [(start_us, end_us)] if start_us < end_us else []
        for taken_start_us, taken_end_us in windows:
            cut = [(a, min(b, taken_start_us)) for a, b in pieces] + [(max(a, taken_end_us), b) for a, b in pieces]
            pieces = [(a, b) for a, b in cut if a < b]
        return sorted(pieces)

    def counted_us(self, start_us, end_us):
        return sum(b - a for a, b in self.outside(self.excluded, start_us, end_us))

    def length_us(self, bucket):
        return self.counted_us(bucket.start_us, bucket.end_us)

    def _clip(self, start_s, end_s):
        start_us, end_us = to_us(start_s), min(to_us(end_s), self.now_us)
        if self.case.commissioned_s is not None:
            start_us = max(start_us, to_us(self.case.commissioned_s))
        if self.case.retired_s is not None:
            end_us = min(end_us, to_us(self.case.retired_s))
        return Bucket(start_us, max(start_us, end_us))

    def _find_interval(self):
        setting = self.case.attributes.nominal_interval_s
        if setting is not None:
            return setting * SECOND_US, False
        life = self._clip(self.case.edges_s[0], self.case.edges_s[-1])
        start_us = life.start_us - 30 * DAY_S * SECOND_US
        end_us = min(life.end_us, self.now_us)  # also of a period that has not begun
        if self.case.retired_s is not None:
            end_us = min(end_us, to_us(self.case.retired_s))
        times = [at_us for at_us, _ in self.points if start_us <= at_us < end_us]
        if len(times) < 10:
            return 0, False
        return median(b - a for a, b in pairwise(times)), True

    def _find_max_hold(self):
        setting = self.case.attributes.max_hold_s
        if setting is not None:
            return setting * SECOND_US
        return 3 * self.nominal_us if self.nominal_us else DAY_S * SECOND_US

    def inside(self, bucket):
        return [(at_us, value) for at_us, value in self.points if bucket.holds(at_us)]

    def bad_n(self, bucket):
        bad = [at_us for at_us, value in self.rows if value is None and not self.is_excluded(at_us)]
        return sum(bucket.holds(at_us) for at_us in bad)

    def held(self, bucket):
        """Return (value, time held inside the bucket) of every row that holds there."""
        cuts = []
        for k, (at_us, value) in enumerate(self.rows):
            if value is None:
                continue
            until_us = at_us + self.max_hold_us
            if k + 1 < len(self.rows):
                until_us = min(until_us, self.rows[k + 1][0])
            pieces = self.outside(self.unheld, max(at_us, bucket.start_us), min(until_us, bucket.end_us))
            if pieces:
                cuts.append((value, sum(b - a for a, b in pieces)))
        return cuts

    def covered_us(self, bucket):
        return sum(duration_us for _, duration_us in self.held(bucket))

    def time_weighted_mean(self, bucket):
        area = sum(Fraction(value) * Fraction(duration_us) for value, duration_us in self.held(bucket))
        return float(area / Fraction(self.covered_us(bucket)))

    def class_us(self, bucket, state_class):
        if state_class is StateClass.UNKNOWN:
            known = (StateClass.UP, StateClass.DOWN, StateClass.PLANNED, StateClass.IDLE)
            return self.length_us(bucket) - sum(self.class_us(bucket, other) for other in known)
        return sum(us for value, us in self.held(bucket) if STATE_CLASSES.get(value) is state_class)

    def is_silent(self, start_us, end_us):
        """Say whether the counted time between two points is longer than max hold, or without a sign of life."""
        pieces = self.outside(self.excluded, start_us, end_us)
        alive = [self.outside(self.unheld, a, b) for a, b in pieces]
        gap_us = sum(b - a for a, b in pieces)
        return gap_us > self.max_hold_us or sum(b - a for one in alive for a, b in one) < gap_us

    def is_unknown(self, start_us, end_us):
        """Say whether nothing was known for a while between two points: silence, or a bad row that counts."""
        bad_us = [at_us for at_us, value in self.rows if value is None and not self.is_excluded(at_us)]
        return self.is_silent(start_us, end_us) or any(start_us < at_us < end_us for at_us in bad_us)

    def failures(self, bucket):
        """Return (certain, uncertain) transitions from up to down."""
        certain = uncertain = 0
        for (a_us, a), (b_us, b) in pairwise(self.points):
            falls = STATE_CLASSES.get(a) is StateClass.UP and STATE_CLASSES.get(b) is StateClass.DOWN
            if falls and bucket.holds(b_us) and not self.is_silent(a_us, b_us):
                certain += 1
            elif falls and bucket.holds(b_us):
                uncertain += 1
        return certain, uncertain

    def gaps_us(self, bucket):
        """Return the lengths of the gaps longer than max hold, the edges included."""
        marks = [bucket.start_us, *(at_us for at_us, _ in self.inside(bucket)), bucket.end_us]
        gaps = [self.counted_us(a, b) for a, b in pairwise(marks)]
        return [gap_us for gap_us in gaps if gap_us > self.max_hold_us]

    # --- limits, lines, trend, pairs ---------------------------------------------------------------------------------

    def beyond(self, bucket):
        """Return (points outside the limits, held time above usl, held time below lsl)."""
        lsl, usl = self.case.attributes.lsl, self.case.attributes.usl
        above = lambda value: usl is not None and value > usl  # noqa: E731
        below = lambda value: lsl is not None and value < lsl  # noqa: E731
        outside_n = sum(above(value) or below(value) for _, value in self.inside(bucket))
        held = self.held(bucket)
        return outside_n, sum(us for v, us in held if above(v)), sum(us for v, us in held if below(v))

    def lines(self, bucket):
        """Return (area under straight lines between neighbours, time that they cover)."""
        area, covered_us = Fraction(0), 0
        for (a_us, a), (b_us, b) in pairwise(self.rows):
            if a is None or b is None or b_us - a_us > self.max_hold_us:
                continue
            slope = (Fraction(b) - Fraction(a)) / (b_us - a_us)
            for start_us, end_us in self.outside(self.unheld, max(a_us, bucket.start_us), min(b_us, bucket.end_us)):
                ends = [Fraction(a) + slope * (at_us - a_us) for at_us in (start_us, end_us)]
                area += sum(ends) / 2 * (end_us - start_us)
                covered_us += end_us - start_us
        return float(area), covered_us

    def slots(self, bucket):
        if not self.nominal_us:
            return 0
        origin_us = to_us(self.case.edges_s[0])
        return len({(at_us - origin_us) // Fraction(self.nominal_us) for at_us, _ in self.inside(bucket)})

    def trend(self, bucket):
        """Return sums of squares (t, value) and of products about the means, times in seconds."""
        times = [Fraction(at_us - to_us(self.case.edges_s[0]), SECOND_US) for at_us, _ in self.inside(bucket)]
        values = [Fraction(value) for _, value in self.inside(bucket)]
        if not values:
            return 0.0, 0.0
        t_mean, mean = sum(times) / len(times), sum(values) / len(values)
        products = sum((t - t_mean) * (v - mean) for t, v in zip(times, values, strict=True))
        return float(sum((t - t_mean) ** 2 for t in times)), float(products)

    def pairs(self, bucket, *, inner=False):
        """Return (later, earlier) values of consecutive points at most max hold apart, the later one inside, or both."""
        return [
            (Fraction(b), Fraction(a))
            for (a_us, a), (b_us, b) in pairwise(self.points)
            if bucket.holds(b_us) and b_us - a_us <= self.max_hold_us and (bucket.holds(a_us) or not inner)
        ]

    def lagged_products(self, bucket):
        """Return c1 and c0 of Box and Jenkins, each times n."""
        values = [Fraction(value) for _, value in self.inside(bucket)]
        mean = sum(values, Fraction(0)) / max(1, len(values))
        products = sum(((b - mean) * (a - mean) for b, a in self.pairs(bucket, inner=True)), Fraction(0))
        return products, sum(((value - mean) ** 2 for value in values), Fraction(0))

    def subgroups(self):
        """Return the subgroups of all buckets as lists of points."""
        size, length_s = self.case.subgroup
        points = [point for bucket in self.buckets for point in self.inside(bucket)]
        if size:
            groups = [points[at : at + size] for at in range(0, len(points), size)]
            return [group for group in groups if len(group) == size]
        origin_us = to_us(self.case.edges_s[0])
        by_slot = {}
        for point in points if length_s else ():
            by_slot.setdefault((point[0] - origin_us) // (length_s * SECOND_US), []).append(point)
        return [group for group in by_slot.values() if len(group) > 1]

    def within(self, bucket):
        """Return (groups, degrees, squares, sum of ranges / d2, how many have no d2) of the subgroups whose last point lies in a bucket."""
        groups = [[Fraction(v) for _, v in group] for group in self.subgroups() if bucket.holds(group[-1][0])]
        squares = sum(sum((v - sum(group) / len(group)) ** 2 for v in group) for group in groups)
        ranges = sum(float(max(group) - min(group)) / D2[len(group)] for group in groups if len(group) in D2)
        too_large = sum(len(group) > max(D2) for group in groups)
        return len(groups), sum(len(group) - 1 for group in groups), float(squares), ranges, too_large

    # --- states: down intervals --------------------------------------------------------------------------------------

    def down_runs(self):
        """Return lists of consecutive down points with nothing unknown between, as places among the points."""
        runs = []
        for number, (at_us, value) in enumerate(self.points):
            if STATE_CLASSES.get(value) is not StateClass.DOWN:
                continue
            is_next = runs and runs[-1][-1] == number - 1
            if is_next and not self.is_unknown(self.points[number - 1][0], at_us):
                runs[-1].append(number)
            else:
                runs.append([number])
        return runs

    def repairs(self, bucket):
        """Return {fact: value} of the down intervals that end in a bucket, and of the one open at its end."""
        told = {"repairs": 0, "repaired_us": 0, "repairs_cut": 0, "repairs_censored": 0}
        for run in self.down_runs():
            since_us, last_us = self.points[run[0]][0], self.points[run[-1]][0]
            before = self.points[run[0] - 1] if run[0] else None
            is_cut = before is None or self.is_unknown(before[0], since_us) or not is_known(before[1])
            for until_us, value in self.points[run[-1] + 1 : run[-1] + 2]:
                if not bucket.holds(until_us):
                    continue
                if is_known(value) and not self.is_unknown(last_us, until_us):
                    told["repairs"] += 1
                    told["repaired_us"] += self.counted_us(since_us, until_us)
                    told["repairs_cut"] += is_cut
                else:
                    told["repairs_censored"] += 1
        return {**told, "open_down_us": self.open_down_us(bucket)}

    def open_down_us(self, bucket):
        before = [number for number, (at_us, _) in enumerate(self.points) if at_us < bucket.end_us]
        runs = [run for run in self.down_runs() if before and before[-1] in run]
        if not runs or bucket.start_us == bucket.end_us:
            return 0
        if self.is_unknown(self.points[before[-1]][0], bucket.end_us):
            return 0
        return self.counted_us(self.points[runs[0][0]][0], bucket.end_us)

    # --- counters: a story from the first reading of the look-back on ------------------------------------------------

    def story(self):
        """Return [(at_us of the later reading, what, amount, at_us of the earlier reading)]."""
        events = []
        queue = list(self.readings)
        if not queue:
            return events
        last_us, last = queue.pop(0)
        while queue:
            at_us, value = queue[0]
            ahead = [later for _, later in queue[1:3]]
            what, amount, off_line = self._judge(last, value, ahead)
            limit = self.case.attributes.max_rate
            limit = math.inf if limit is None else limit
            if what in {"rise", "reset", "rollover"} and amount > limit * ((at_us - last_us) / SECOND_US):
                what = "too fast"
            if what == "undecided":
                return events + [(us, "undecided", 0, None) for us, _ in queue]
            if what == "glitch":
                events += [(us, "glitch", 0, None) for us, _ in queue[:off_line]]
                queue = queue[off_line:]
                continue
            events.append((at_us, "glitch" if what == "too fast" else what, amount, last_us))
            last_us, last = queue.pop(0)
        return events

    def _judge(self, last, value, ahead):
        modulus = self.case.attributes.rollover_at

        def rolls_over(before, after):
            return modulus is not None and 0.9 * modulus <= before <= modulus and after <= 0.1 * modulus

        if rolls_over(last, value):
            return "rollover", modulus - last + value, 0
        if value < last:
            for off_line, later in enumerate(ahead, start=1):
                if later >= last:
                    return "glitch", 0, off_line
            return ("reset", value, 0) if len(ahead) == 2 else ("undecided", 0, 0)
        path = [value, *ahead]
        for off_line, later in enumerate(ahead, start=1):
            returns = last <= later < min(path[:off_line])
            above = all(between >= value for between in path[:off_line])
            if returns and above and not rolls_over(path[off_line - 1], later):
                return "glitch", 0, off_line
        return "rise", value - last, 0

    def counter(self, bucket):
        """Return the counter facts of one bucket."""
        events = [event for event in self.story() if bucket.holds(event[0]) and not self.is_excluded(event[0])]
        steps = [event for event in events if event[1] in {"rise", "reset", "rollover"}]
        first_us = self.readings[0][0] if self.readings else None
        return {
            "increase": float(sum((Fraction(amount) for _, _, amount, _ in steps), Fraction(0))),
            "steps": len(steps),
            "moves": sum(amount > 0 for _, _, amount, _ in steps),
            "resets": sum(event[1] == "reset" for event in events),
            "rollovers": sum(event[1] == "rollover" for event in events),
            "glitches": sum(event[1] == "glitch" for event in events),
            "undecided": sum(event[1] == "undecided" for event in events),
            "from_us": steps[0][3] if steps else 0,
            "to_us": steps[-1][0] if steps else 0,
            "baseline_us": first_us if first_us is not None and bucket.holds(first_us) else 0,
        }

    # --- results -----------------------------------------------------------------------------------------------------

    def results(self, bucket):
        """Return {kpi: value or None} of the KPIs that the metric's kind has."""
        kind = self.case.attributes.kind
        out = self._points(bucket) | self._silence(bucket)
        if kind is MetricKind.DELTA:
            values = [Fraction(value) for _, value in self.inside(bucket)]
            out["total"] = float(sum(values)) if values else None
        else:
            out |= self._holds(bucket) | self._limits(bucket)
        if kind in {MetricKind.GAUGE, MetricKind.DELTA}:
            out |= self._capability(bucket)
        if kind is not MetricKind.STATE:
            out |= self._trend(bucket)
        if kind is MetricKind.COUNTER:
            out |= self._counter(bucket)
        if kind is MetricKind.STATE:
            out |= self._states(bucket)
        return out if self.length_us(bucket) else dict.fromkeys(out)

    def _points(self, bucket):
        values = [value for _, value in self.inside(bucket)]
        n = len(values)
        exact = [Fraction(value) for value in values]
        mean = sum(exact, Fraction(0)) / n if n else None
        out = {
            "count": n,
            "min": min(values, default=None),
            "max": max(values, default=None),
            "mean": None if mean is None else float(mean),
            "std": math.sqrt(sum((x - mean) ** 2 for x in exact) / (n - 1)) if n > 1 else None,
            "first": values[0] if n else None,
            "last": values[-1] if n else None,
            "change": values[-1] - values[0] if n else None,
            "range": max(values) - min(values) if n else None,
        }
        for name, share in (("p05", 0.05), ("median", 0.5), ("p95", 0.95)):
            out[name] = float(np.quantile(values, share)) if n else None
        return out

    def _silence(self, bucket):
        n, covered_us, length_us = len(self.inside(bucket)), self.covered_us(bucket), self.length_us(bucket)
        expected = length_us / self.nominal_us if self.nominal_us else 0
        gaps_us = self.gaps_us(bucket)
        late_us = [to_us(row.at_s) for row in self.case.rows if row.is_late]
        late = sum(at_us in late_us for at_us, _ in self.inside(bucket))
        return {
            "completeness": 100 * min(1, n / expected) if expected >= 1 else None,
            "completeness_slots": 100 * min(1, self.slots(bucket) / expected) if expected >= 1 else None,
            "coverage": 100 * covered_us / length_us if length_us else None,
            "gap_count": len(gaps_us),
            "longest_gap": max(gaps_us, default=0) / SECOND_US,
            "bad_count": self.bad_n(bucket),
            "late": None if self.case.attributes.lateness_s is None else late,
        }

    def _holds(self, bucket):
        held = self.held(bucket)
        area = float(sum(Fraction(value) * Fraction(us) for value, us in held) / SECOND_US)
        line_area, line_us = self.lines(bucket)
        names = ("time_weighted_mean", "time_weighted_mean_linear", "integral", "integral_hours", "integral_linear")
        if not held:
            return dict.fromkeys(names)
        linear_mean = line_area / line_us if line_us else None
        values = (self.time_weighted_mean(bucket), linear_mean, area, area / HOUR_S, line_area / SECOND_US)
        return dict(zip(names, values, strict=True))

    def _limits(self, bucket):
        lsl, usl = self.case.attributes.lsl, self.case.attributes.usl
        _, above_us, below_us = self.beyond(bucket)
        covered_us = self.covered_us(bucket)
        sides = {
            "above": None if usl is None else above_us,
            "below": None if lsl is None else below_us,
            "outside": None if usl is None and lsl is None else above_us + below_us,
        }
        out = {f"time_{side}": None if us is None else us / SECOND_US for side, us in sides.items()}
        shares = {
            f"time_{side}_share": 100 * us / covered_us if us is not None and covered_us else None
            for side, us in sides.items()
        }
        return out | shares

    def _capability(self, bucket):
        values = [Fraction(value) for _, value in self.inside(bucket)]
        n, pairs = len(values), self.pairs(bucket)
        groups, degrees, squares, ranges, too_large = self.within(bucket)
        products, about_mean = self.lagged_products(bucket)
        within = math.sqrt(squares / degrees) if groups else None
        if not groups and pairs:
            within = float(sum(abs(b - a) for b, a in pairs)) / len(pairs) / D2[2]
        by_ranges = ranges / groups if groups and not too_large else None
        overall = math.sqrt(about_mean / (n - 1)) if n > 1 else None
        varies = float(about_mean) > 0 and self.pairs(bucket, inner=True)
        out = {
            "std_within": within,
            "std_within_ranges": by_ranges,
            "autocorrelation": float(products / about_mean) if varies else None,
        }
        mean = sum(values, Fraction(0)) / max(1, n)
        for names, deviation in (
            (("cp", "cpk"), within),
            (("cp_ranges", "cpk_ranges"), by_ranges),
            (("pp", "ppk"), overall),
        ):
            out |= dict(zip(names, self._indices(mean, deviation), strict=True))
        return out

    def _indices(self, mean, deviation):
        lsl, usl = self.case.attributes.lsl, self.case.attributes.usl
        rooms = [float(usl - mean)] if usl is not None else []
        rooms += [float(mean - Fraction(lsl))] if lsl is not None else []
        if not rooms or not deviation:
            return None, None
        return (usl - lsl) / (6 * deviation) if len(rooms) == 2 else None, min(rooms) / (3 * deviation)

    def _trend(self, bucket):
        t_m2, products = self.trend(bucket)
        _, about_mean = self.lagged_products(bucket)
        if not t_m2:
            return dict.fromkeys(("trend", "trend_r2"))
        r2 = float(Fraction(products) ** 2 / (Fraction(t_m2) * about_mean)) if float(about_mean) > 0 else None
        return {"trend": DAY_S * products / t_m2, "trend_r2": r2}

    def _counter(self, bucket):
        facts = self.counter(bucket)
        duration_s = self.counted_us(facts["from_us"], facts["to_us"]) / SECOND_US
        rate = facts["increase"] / duration_s if facts["steps"] and duration_s else None
        return {
            "counter_increase": facts["increase"] if facts["steps"] else None,
            "rate": rate,
            "rate_per_hour": None if rate is None else HOUR_S * rate,
            "counter_resets": facts["resets"],
            "counter_glitches": facts["glitches"],
        }

    def _states(self, bucket):
        length_us = self.length_us(bucket)
        up_us, down_us, planned_us, idle_us, unknown_us = (
            self.class_us(bucket, one)
            for one in (StateClass.UP, StateClass.DOWN, StateClass.PLANNED, StateClass.IDLE, StateClass.UNKNOWN)
        )
        failures, uncertain = self.failures(bucket)
        repairs = self.repairs(bucket)
        up_h, repaired_h = up_us / SECOND_US / HOUR_S, repairs["repaired_us"] / SECOND_US / HOUR_S
        out = {
            "availability": 100 * up_us / (up_us + down_us) if up_us + down_us else None,
            "uptime": up_us / SECOND_US,
            "downtime": down_us / SECOND_US,
            "failures": failures,
            "failures_uncertain": uncertain,
            "mtbf": up_h / failures if failures else None,
            "mtbf_fe_plus_1": up_h / (failures + 1),
            "mttr": repaired_h / repairs["repairs"] if repairs["repairs"] else None,
        }
        for name, us in (("planned", planned_us), ("idle", idle_us), ("unknown", unknown_us)):
            out[f"{name}_time"] = us / SECOND_US
            out[f"{name}_share"] = 100 * us / length_us if length_us else None
        return out
