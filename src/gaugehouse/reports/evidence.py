"""Whether a report is what it says: recomputed from its pin, and its stored result read again."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import pyarrow as pa

from gaugehouse.errors import Refused
from gaugehouse.lake import Gone, Snapshot
from gaugehouse.reports.ask import find_versions_of_now, refuse_gone_of
from gaugehouse.reports.causes import Causes, find_other_versions
from gaugehouse.reports.changes import find_changes
from gaugehouse.reports.compute import OnProgress, compute_answer, say_nothing
from gaugehouse.reports.digest import digest_result
from gaugehouse.reports.pin import Pin, encode_pin
from gaugehouse.reports.result import Answer

DAMAGED_RESULT = "the stored result is not what was computed"


class Verdict(StrEnum):
    """What a verification found; the first that applies."""

    SAME = "same"  # recomputed to the same digits, and stored as it was computed
    DAMAGED = "damaged"  # the stored result is not what was computed
    DIFFERENT = "different"  # recomputing gives other digits
    GONE = "gone"  # rows it needs were dropped by retention: only the stored result is left, and it is intact


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of recomputing a revision.

    Args:
        verdict: In one word.
        digest: That was stored when it was computed.
        recomputed_digest: Of today; None when it could not be recomputed.
        stored_digest: Of the result file as it is now.
        gone_since: When retention dropped what it needs.
        differences: Columns of CHANGES: stored against recomputed.
        other_versions: By what else it was computed: code, formulas, rules of time zones.
    """

    verdict: Verdict
    digest: str
    recomputed_digest: str | None
    stored_digest: str
    gone_since: datetime | None
    differences: pa.Table
    other_versions: tuple[str, ...]


def verify_revision(  # noqa: PLR0913 - a report, what it stored, what is left, how to compute
    snapshot: Snapshot | None,
    pin: Pin,
    *,
    digest: str,
    stored: Answer,
    gone: Gone | None,
    threads: int = 1,
    on_progress: OnProgress = say_nothing,
) -> Verification:
    """Compute a revision again from its pin and compare.

    Args:
        snapshot: The lake as of the pin; None when it was empty then.
        pin: Of the revision.
        digest: That its row has.
        stored: Its result.
        gone: What retention has dropped.
        threads: To compute with; the digits stay the same.
        on_progress: See `compute_answer`.

    Raises:
        Unavailable: A file of the lake cannot be read.
    """
    encoded = encode_pin(pin)
    stored_digest = digest_result(encoded, stored)
    recomputed, since = None, None
    try:
        refuse_gone_of(gone, pin)
        recomputed = compute_answer(snapshot, pin, threads=threads, on_progress=on_progress)
    except Refused:
        since = None if gone is None else gone.since
    recomputed_digest = None if recomputed is None else digest_result(encoded, recomputed)
    verdict = _judge(digest, stored_digest, recomputed_digest)
    other_versions = find_other_versions(pin, find_versions_of_now())
    causes = Causes(of_all=(DAMAGED_RESULT,) if verdict is Verdict.DAMAGED else other_versions)
    return Verification(
        verdict=verdict,
        digest=digest,
        recomputed_digest=recomputed_digest,
        stored_digest=stored_digest,
        gone_since=since,
        differences=find_changes(stored, recomputed or stored, causes),
        other_versions=other_versions,
    )


def _judge(digest: str, stored_digest: str, recomputed_digest: str | None) -> Verdict:
    if stored_digest != digest:
        return Verdict.DAMAGED
    if recomputed_digest is None:
        return Verdict.GONE
    return Verdict.SAME if recomputed_digest == digest else Verdict.DIFFERENT
