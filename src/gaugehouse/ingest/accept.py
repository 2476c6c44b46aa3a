"""One delivery from bytes to receipt: decode, check, register, append."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gaugehouse.errors import MAX_ROWS_NAMED, Forbidden, GaugehouseError, RowProblem, RowsRefused
from gaugehouse.ingest.check import Decoded
from gaugehouse.ingest.decode import decode_events, decode_measurements
from gaugehouse.ingest.instants import TimeUnit
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.receipts import Keep, Receipt, receipt_of
from gaugehouse.lake import Appended, Delivery, KeyedAnswer, TableName
from gaugehouse.limits import Quota, refuse_series


class AppendsRows(Protocol):
    """The part of the lake that a delivery needs."""

    def append(self, project: str, delivery: Delivery) -> Appended: ...


class HoldsSeries(AppendsRows, Protocol):
    """The part of the lake that knows how much of its quota a project has used as well."""

    def count_series_of(self, project: str, table: TableName) -> int: ...

    def refuse_rows_of_day(self, project: str, rows: int, quota: int) -> None: ...


class KnowsNames(Protocol):
    """The part of the inventory that a delivery needs."""

    def find_unknown(
        self, project: str, components: Sequence[str], metrics: Sequence[str]
    ) -> tuple[Sequence[str], Sequence[str]]: ...
    def register(self, project: str, components: Sequence[str], metrics: Sequence[str]) -> None: ...
    def registration_allowed(self, project: str) -> bool: ...


class RemembersNames(Protocol):
    """The part of the inventory that needs no database."""

    def are_in_memory(self, project: str, components: Sequence[str], metrics: Sequence[str]) -> bool: ...


def accept_measurements(  # noqa: PLR0913 - one delivery has this many sides, each given by the edge
    lake: HoldsSeries,
    registry: KnowsNames,
    project: str,
    body: bytes,
    media_type: str,
    *,
    limits: Limits,
    partial: bool = False,
    component: str | None = None,
    time_unit: TimeUnit | None = None,
    keep: Keep | None = None,
) -> Receipt:
    """Store one delivery of measurements; returns when it is durable.

    Args:
        lake: Where rows are appended.
        registry: Where names are known.
        project: Slug.
        body: The payload, not compressed.
        media_type: Content-Type.
        limits: How much one delivery may hold.
        partial: Store the good rows and name the bad ones, instead of refusing all.
        component: The only component that the caller's key may write.
        time_unit: Unit of integer times.
        keep: How the receipt is kept with the rows, if it is.

    Raises:
        Forbidden: A row names another component than the key's.
        RowsRefused: A row is bad, or names what the project does not let deliveries register.
        GaugehouseError: As `decode_measurements`; and what the lake raises.
    """
    decoded = decode_measurements(
        body, media_type, limits=limits, now=datetime.now(UTC), partial=partial, time_unit=time_unit
    )
    _check_key_component(decoded.batch, component)
    room = SeriesRoom(lake=lake, project=project, table="measurements", quota=limits.quota)
    decoded = _resolve_names(registry, room, decoded, has_metrics=True, partial=partial)
    return _append(room, decoded, keep)


def decode_known(
    registry: RemembersNames, project: str, body: bytes, *, limits: Limits, component: str | None = None
) -> pa.Table | None:
    """Return the rows of a JSON delivery as MEASUREMENT_BATCH if all are good and memory knows their names, else None.

    For who wants to store them without asking the database, and leaves whatever is special to `accept_measurements`.
    Arguments as there.
    """
    try:
        batch = decode_measurements(body, "application/json", limits=limits, now=datetime.now(UTC), partial=False).batch
    except GaugehouseError:
        return None
    components = _distinct(batch, "component")
    if not components or (component is not None and components != [component]):
        return None
    return batch if registry.are_in_memory(project, components, _distinct(batch, "metric")) else None


def accept_events(  # noqa: PLR0913 - as accept_measurements
    lake: HoldsSeries,
    registry: KnowsNames,
    project: str,
    body: bytes,
    media_type: str,
    *,
    limits: Limits,
    partial: bool = False,
    component: str | None = None,
    time_unit: TimeUnit | None = None,
    keep: Keep | None = None,
) -> Receipt:
    """Store one delivery of events; arguments and errors as for measurements. Kinds of events need no registration."""
    decoded = decode_events(
        body, media_type, limits=limits, now=datetime.now(UTC), partial=partial, time_unit=time_unit
    )
    _check_key_component(decoded.batch, component)
    room = SeriesRoom(lake=lake, project=project, table="events", quota=limits.quota)
    decoded = _resolve_names(registry, room, decoded, has_metrics=False, partial=partial)
    return _append(room, decoded, keep)


def _distinct(batch: pa.Table, column: str) -> list[str]:
    """Return the names that occur; the dictionary of a checked batch holds no others (check_measurements)."""
    names: list[str] = []
    for chunk in batch[column].chunks:
        names += chunk.dictionary.to_pylist()
    return list(dict.fromkeys(names)) if batch[column].num_chunks > 1 else names


def _check_key_component(batch: pa.Table, component: str | None) -> None:
    if component is not None and set(_distinct(batch, "component")) - {component}:
        raise Forbidden("this key writes measurements and events of its own component only", code="other_component")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRoom:
    """Where rows of one table go, and whether their project may begin more series there."""

    lake: HoldsSeries
    project: str
    table: TableName
    quota: Quota

    def refuse_new_names(self, components: Sequence[str], metrics: Sequence[str]) -> None:
        """Refuse names for which there is no room, before they are registered: each begins a series, with a new row.

        Raises:
            Refused: `series_limit`, with the names.
            Throttled: `rows_per_day_quota`.
        """
        limit, names = self.quota.series, max(components, metrics, key=len)
        if limit is not None and self.lake.count_series_of(self.project, self.table) + len(names) > limit:
            raise refuse_series(limit, names)
        if self.quota.rows_per_day is not None:
            self.lake.refuse_rows_of_day(self.project, len(names), self.quota.rows_per_day)


def _resolve_names(
    registry: KnowsNames, room: SeriesRoom, decoded: Decoded, *, has_metrics: bool, partial: bool
) -> Decoded:
    components = _distinct(decoded.batch, "component")
    metrics = _distinct(decoded.batch, "metric") if has_metrics else []
    project = room.project
    unknown_components, unknown_metrics = registry.find_unknown(project, components, metrics)
    if not unknown_components and not unknown_metrics:
        return decoded
    if registry.registration_allowed(project):
        room.refuse_new_names(unknown_components, unknown_metrics)
        registry.register(project, unknown_components, unknown_metrics)
        return decoded
    refused = [_Unknown("component", tuple(unknown_components))] if unknown_components else []
    if unknown_metrics:
        refused.append(_Unknown("metric", tuple(unknown_metrics)))
    return _without_unknown(decoded, refused, partial=partial)


@dataclass(frozen=True, slots=True)
class _Unknown:
    """Names of one column that the project does not let deliveries register."""

    column: str
    names: tuple[str, ...]

    def rows(self, batch: pa.Table) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = pc.is_in(
            batch[self.column].cast(pa.string()), pa.array(self.names, pa.string())
        ).to_numpy()
        return mask


def _without_unknown(decoded: Decoded, refused: list[_Unknown], *, partial: bool) -> Decoded:
    bad = np.zeros(len(decoded.batch), dtype=bool)
    problems = list(decoded.problems)
    for unknown in refused:
        mask = unknown.rows(decoded.batch)
        bad |= mask
        problems.extend(
            RowProblem(row=decoded.payload_row(int(row)), field=unknown.column, reason="is not registered")
            for row in np.flatnonzero(mask)[:MAX_ROWS_NAMED]
        )
    problems = sorted(problems, key=lambda problem: problem.row)[:MAX_ROWS_NAMED]
    bad_rows = decoded.bad_rows + int(bad.sum())
    if not partial:
        raise RowsRefused(problems, bad_rows=bad_rows, code=f"unknown_{refused[0].column}")
    numbers = np.arange(len(bad), dtype=np.int64) if decoded.row_numbers is None else decoded.row_numbers
    return replace(
        decoded,
        batch=decoded.batch.filter(pa.array(~bad)),
        problems=tuple(problems),
        bad_rows=bad_rows,
        row_numbers=numbers[~bad],
    )


def _append(room: SeriesRoom, decoded: Decoded, keep: Keep | None) -> Receipt:
    if not len(decoded.batch) and keep is None:
        return _receipt(None, decoded)

    def answer(appended: Appended) -> KeyedAnswer:
        assert keep is not None  # noqa: S101 - called only with one; narrows the type
        return keep.answer(_receipt(appended, decoded))

    told = None if keep is None else answer
    delivery = Delivery(batches={room.table: decoded.batch}, answer=told, quota=room.quota)
    return _receipt(room.lake.append(room.project, delivery), decoded)


def _receipt(appended: Appended | None, decoded: Decoded) -> Receipt:
    """Return what the sender is told; a delivery without a good row has no part in any log record."""
    if appended is not None and len(decoded.batch):
        return receipt_of(appended, rejected=decoded.bad_rows, problems=decoded.problems)
    return Receipt(
        accepted=0,
        duplicates=0,
        conflicts=0,
        late=0,
        received_at=None,
        rejected=decoded.bad_rows,
        problems=decoded.problems,
    )
