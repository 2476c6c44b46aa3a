"""What a row must be to be stored, whatever format it came in."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaugehouse.errors import RowProblem, RowsRefused
from gaugehouse.ingest.bodies import hash_bodies
from gaugehouse.ingest.columns import Instants, Names, Numbers, RawEvents, RawMeasurements
from gaugehouse.ingest.flaws import Flaws
from gaugehouse.ingest.limits import Limits
from gaugehouse.measurements.names import NAME_LIMIT_CHARS, find_name_problem
from gaugehouse.measurements.schema import EVENT_BATCH, MEASUREMENT_BATCH, QUALITY_BAD, TIMESTAMP
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us

SPACE, LAST_PRINTABLE = 0x20, 0x7E


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The good rows of one delivery and what was wrong with the others.

    Args:
        batch: MEASUREMENT_BATCH or EVENT_BATCH, rows in the order they were sent.
        problems: The first 20 bad cells.
        bad_rows: Number of bad rows, left out of the batch.
        row_numbers: Row of the payload for each row of the batch; None when all rows are good.
    """

    batch: pa.Table
    problems: tuple[RowProblem, ...]
    bad_rows: int
    row_numbers: NDArray[np.int64] | None

    def payload_row(self, row: int) -> int:
        """Return the 0-based payload row of a batch row."""
        return row if self.row_numbers is None else int(self.row_numbers[row])


def check_measurements(raw: RawMeasurements, *, limits: Limits, now: datetime, partial: bool) -> Decoded:
    """Return the rows that can be stored as MEASUREMENT_BATCH.

    Raises:
        RowsRefused: A row is bad and `partial` is False.
    """
    flaws = raw.flaws
    check_names("component", raw.component, flaws)
    check_names("metric", raw.metric, flaws)
    check_instants("measured_at", raw.measured_at, flaws, limits=limits, now=now)
    _check_values(raw.value, raw.quality, flaws)
    keep = _settle(flaws, partial=partial)
    numbers = pa.array(raw.value.floats, pa.float64(), mask=None if raw.value.given.all() else ~raw.value.given)
    columns = [
        _kept_names(raw.component, keep),
        _kept_names(raw.metric, keep),
        _kept(_timestamps(raw.measured_at), keep),
        _kept(numbers, keep),
        _kept(pa.array(raw.quality, pa.uint8()), keep),
    ]
    return _decoded(pa.Table.from_arrays(columns, schema=MEASUREMENT_BATCH), flaws, keep)


def check_events(raw: RawEvents, *, limits: Limits, now: datetime, partial: bool) -> Decoded:
    """Return the rows that can be stored as EVENT_BATCH.

    Raises:
        RowsRefused: A row is bad and `partial` is False.
    """
    flaws = raw.flaws
    check_names("component", raw.component, flaws)
    check_names("kind", raw.kind, flaws)
    check_instants("occurred_at", raw.occurred_at, flaws, limits=limits, now=now)
    keep = _settle(flaws, partial=partial)
    body = _kept(raw.body, keep)
    columns = [
        _kept_names(raw.component, keep),
        _kept_names(raw.kind, keep),
        _kept(_timestamps(raw.occurred_at), keep),
        body,
        hash_bodies(body),
    ]
    return _decoded(pa.Table.from_arrays(columns, schema=EVENT_BATCH), flaws, keep)


def _settle(flaws: Flaws, *, partial: bool) -> NDArray[np.bool_] | None:
    bad_rows = int(flaws.bad.sum())
    if bad_rows and not partial:
        raise RowsRefused(flaws.first(), bad_rows=bad_rows, code=flaws.code)
    return ~flaws.bad if bad_rows else None


def _decoded(batch: pa.Table, flaws: Flaws, keep: NDArray[np.bool_] | None) -> Decoded:
    if keep is None:
        return Decoded(batch=batch, problems=(), bad_rows=0, row_numbers=None)
    rows = np.flatnonzero(keep).astype(np.int64)
    return Decoded(batch=batch, problems=tuple(flaws.first()), bad_rows=len(keep) - len(rows), row_numbers=rows)


def _kept(column: pa.Array, keep: NDArray[np.bool_] | None) -> pa.Array:
    return column if keep is None else column.filter(pa.array(keep))


def _kept_names(names: Names, keep: NDArray[np.bool_] | None) -> pa.DictionaryArray:
    # Names that no good row uses must not be registered, so they leave the dictionary too.
    return (names.compact() if keep is None else names.take(keep)).to_arrow()


def _timestamps(instants: Instants) -> pa.Array:
    return pa.array(instants.epoch_us, pa.int64()).view(TIMESTAMP)


def check_names(field: str, names: Names, flaws: Flaws) -> None:
    """Flag the rows without a name, or with a text that cannot be one."""
    flaws.add(field, names.codes < 0, "is missing")
    problems = find_bad_names(names.distinct)
    if problems:
        wrong = np.isin(names.codes, list(problems))
        flaws.add(field, wrong, lambda row: problems[int(names.codes[row])])


def find_bad_names(distinct: pa.StringArray) -> dict[int, str]:
    """Return position -> reason of the texts that cannot be names."""
    if _are_plain_names(distinct):
        return {}
    found = ((code, find_name_problem(name)) for code, name in enumerate(distinct.to_pylist()))
    return {code: reason for code, reason in found if reason is not None}


def _are_plain_names(distinct: pa.StringArray) -> bool:
    """Say whether all are printable ASCII within the length and without outer spaces: no look at each is needed."""
    if not len(distinct):
        return True
    offsets = np.frombuffer(distinct.buffers()[1], dtype=np.int32)[distinct.offset :][: len(distinct) + 1]
    lengths = np.diff(offsets)
    if lengths.min() < 1 or lengths.max() > NAME_LIMIT_CHARS:
        return False
    characters = np.frombuffer(distinct.buffers()[2], dtype=np.uint8)[: offsets[-1]]
    used = characters[offsets[0] :]
    if used.min() < SPACE or used.max() > LAST_PRINTABLE:
        return False
    return bool((characters[offsets[:-1]] != SPACE).all() and (characters[offsets[1:] - 1] != SPACE).all())


def check_instants(field: str, instants: Instants, flaws: Flaws, *, limits: Limits, now: datetime) -> None:
    """Flag the rows without an instant, before 1970, too far ahead of the clock, too late, or older than is kept."""
    flaws.add(field, ~instants.given, "is missing")
    flaws.add(field, instants.epoch_us < 0, "is before 1970")
    latest_us = to_epoch_us(now) + int(limits.future_limit_s * 1_000_000)
    flaws.add(
        field,
        instants.epoch_us > latest_us,
        lambda row: f"is too far ahead of the clock: {_shown_instant(int(instants.epoch_us[row]))}",
    )
    kept_from = limits.kept_from.get(field)
    if kept_from is not None:
        _flag_older(field, instants, flaws, kept_from, "is older than this project keeps", "older_than_retention")
    if limits.lateness_limit_s is not None:
        too_late = now - timedelta(seconds=limits.lateness_limit_s)
        _flag_older(field, instants, flaws, too_late, "comes too late for this project", "too_late")


def _flag_older(field: str, instants: Instants, flaws: Flaws, earliest: datetime, what: str, code: str) -> None:
    """Flag the rows before an instant."""
    flaws.add(
        field,
        instants.epoch_us < to_epoch_us(earliest),
        lambda row: f"{what}: {_shown_instant(int(instants.epoch_us[row]))} is before {earliest.isoformat()}",
        code=code,
    )


def _shown_instant(epoch_us: int) -> str:
    try:
        return from_epoch_us(epoch_us).isoformat()
    except OverflowError:
        return f"{epoch_us} us since 1970"


def _check_values(numbers: Numbers, quality: NDArray[np.uint8], flaws: Flaws) -> None:
    flaws.add("value", ~numbers.given & (quality != QUALITY_BAD), "is null, which only a row of quality bad may be")
    infinite = numbers.given & ~np.isfinite(numbers.floats)
    flaws.add("value", infinite, lambda row: f"is not a finite number: {numbers.floats[row]}")
