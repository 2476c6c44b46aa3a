"""What files say around the values of a revision, read from the lake at the revision's pin."""

from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from gaugehouse import __version__
from gaugehouse.lake import Gone, Snapshot
from gaugehouse.reports.ask import find_catalogue_version
from gaugehouse.reports.causes import find_causes
from gaugehouse.reports.changes import UNEXPLAINED, find_changes
from gaugehouse.reports.chunks import Limits
from gaugehouse.reports.compute import OnProgress, compute_report, find_needed_from, say_nothing
from gaugehouse.reports.documents import Issue, Surroundings, find_compared_period
from gaugehouse.reports.overview import LINES_LIMIT, Overview, as_one, compute_overview
from gaugehouse.reports.staleness import compare_revisions

CAUSE_GONE = "unknown: the rows were dropped by retention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Where surroundings are read, and with how much.

    Args:
        snapshot: Any moment of the lake since the revision was computed; None: nothing had been received.
        gone: What retention has dropped, asked after the snapshot was opened: nothing is dropped unseen in between.
        threads: To compute with.
        limits: What is held in memory at once.
        on_progress: Called with per cent done and what follows; raise in it to stop.
    """

    snapshot: Snapshot | None
    gone: Gone | None
    threads: int = 1
    limits: Limits = field(default_factory=Limits)
    on_progress: OnProgress = say_nothing


def find_surroundings(issue: Issue, before: Issue | None, reading: Reading) -> Surroundings:
    """Compute what the files of a revision say around its values.

    What retention has dropped is left out, with a note that says so: the stored result stays what it was.

    Args:
        issue: The revision.
        before: The last revision before it that has a result.
        reading: Where the lake is.

    Raises:
        Unavailable: A file of the lake cannot be read.
    """
    pin, gone = issue.pin, reading.gone
    notes: list[str] = []
    overview = None
    if gone is None or find_needed_from(pin, pin.period) >= gone.before:
        overview = compute_overview(
            reading.snapshot,
            pin,
            totals=issue.own_totals,
            threads=reading.threads,
            limits=reading.limits,
            on_progress=reading.on_progress,
        )
        notes += _note_versions(issue) + _note_lines(overview)
    else:
        what = "charts and down time" if issue.own_totals is not None else "totals, charts and down time"
        notes.append(
            f"Without {what}: measurements before {gone.before:%Y-%m-%d %H:%M} UTC were dropped by retention on"
            f" {gone.since:%Y-%m-%d}. The values are those that were computed and kept."
        )
    others, why_not = (None, "") if overview is None else _find_others(issue, reading)
    return Surroundings(
        overview=overview,
        others=others,
        why_no_others=why_not,
        changes=None if before is None else _find_changes(issue, before, reading),
        notes=tuple(notes),
    )


def _note_versions(issue: Issue) -> list[str]:
    """Say where totals and charts were computed by others than the values."""
    pin = issue.pin
    if pin.code_version == __version__ and pin.catalogue_version == find_catalogue_version():
        return []
    what = "Formulas and charts" if issue.own_totals is not None else "Totals, formulas and charts"
    return [f"{what} are of Gaugehouse {__version__}, the values of {pin.code_version}."]


def _note_lines(overview: Overview) -> list[str]:
    if not overview.undrawn:
        return []
    return [f"Only the first {LINES_LIMIT:,} of {LINES_LIMIT + overview.undrawn:,} series have a chart."]


def _find_others(issue: Issue, reading: Reading) -> tuple[pa.Table | None, str]:
    """Return the totals of the period that a report is compared with, or why there are none."""
    other = find_compared_period(issue.pin)
    if other is None or issue.own_totals is not None:  # whose comparison is stored
        return None, ""
    gone = reading.gone
    if gone is not None and find_needed_from(issue.pin, other) < gone.before:
        return None, f"measurements before {gone.before:%Y-%m-%d} are gone (retention)"
    whole = as_one(issue.pin, other)
    totals = compute_report(
        reading.snapshot,
        whole,
        threads=reading.threads,
        limits=reading.limits,
        on_progress=lambda step: reading.on_progress(replace(step, percent=100, doing="totals of the other period")),
    )
    return totals, ""


def _find_changes(issue: Issue, before: Issue, reading: Reading) -> pa.Table:
    """Return what differs from the revision before. Late rows are found in the lake of now: all are there by now."""
    old, new = (before.pin, before.answer), (issue.pin, issue.answer)
    gone = reading.gone
    is_gone = gone is not None and find_needed_from(issue.pin, issue.pin.period) < gone.before
    if reading.snapshot is not None and not is_gone:
        return compare_revisions(reading.snapshot, old, new)
    changes = find_changes(old[1], new[1], find_causes(old[0], new[0]))
    because = pc.if_else(pc.equal(changes["because"], UNEXPLAINED), CAUSE_GONE, changes["because"])
    return changes.set_column(changes.column_names.index("because"), changes.schema.field("because"), because)
