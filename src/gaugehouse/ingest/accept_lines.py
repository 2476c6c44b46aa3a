"""One delivery of line protocol from bytes to receipt: decode, check, register, label, append."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from gaugehouse.errors import MAX_ROWS_NAMED, Forbidden, LineProblem, LinesRefused
from gaugehouse.ingest.accept import HoldsSeries, KnowsNames, SeriesRoom
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.line_cells import Precision
from gaugehouse.ingest.line_keys import LineMapping
from gaugehouse.ingest.line_protocol import DecodedLines, decode_lines
from gaugehouse.ingest.receipts import Keep, Receipt, receipt_of
from gaugehouse.lake import Appended, Delivery, KeyedAnswer

NOTHING_SENT = Receipt(accepted=0, duplicates=0, conflicts=0, late=0, received_at=None)


class AddsLabels(Protocol):
    """The part of the inventory that knows labels."""

    def add_missing(self, project: str, labels: Mapping[str, Mapping[str, str]]) -> None: ...


def accept_lines(  # noqa: PLR0913 - as accept_measurements
    lake: HoldsSeries,
    registry: KnowsNames,
    labels: AddsLabels,
    project: str,
    body: bytes,
    *,
    precision: Precision,
    mapping: LineMapping,
    limits: Limits,
    component: str | None = None,
    may_add_events: bool = True,
    keep: Keep | None = None,
) -> Receipt:
    """Store one delivery, all or nothing; returns when it is durable.

    Args:
        lake: Where rows are appended.
        registry: Where names are known.
        labels: Where tags go that are no part of a name.
        project: Slug.
        body: Line protocol, not compressed.
        precision: Unit of the timestamps.
        mapping: Which tags mean what.
        limits: How much one delivery may hold.
        component: The only component that the caller's key may write.
        may_add_events: Whether the caller may write strings.
        keep: How the receipt is kept with the rows, if it is.

    Raises:
        Forbidden: A line names another component than the key's, or has a string that its key may not write.
        LinesRefused: A line is bad, or names what the project does not let deliveries register.
        GaugehouseError: As `decode_lines`; and what the lake raises.
    """
    decoded = decode_lines(body, precision=precision, mapping=mapping, limits=limits, now=datetime.now(UTC))
    _check_key(decoded, component, may_add_events=may_add_events)
    room = SeriesRoom(lake=lake, project=project, table="measurements", quota=limits.quota)
    _resolve_names(registry, room, decoded)
    if decoded.labels:
        labels.add_missing(project, decoded.labels)
    sent = {"measurements": decoded.measurements, "events": decoded.events}
    batches = {table: batch for table, batch in sent.items() if batch.num_rows}
    if not batches and keep is None:
        return NOTHING_SENT

    def receipt(appended: Appended) -> Receipt:
        return receipt_of(appended) if batches else NOTHING_SENT

    def answer(appended: Appended) -> KeyedAnswer:
        assert keep is not None  # noqa: S101 - called only with one; narrows the type
        return keep.answer(receipt(appended))

    delivery = Delivery(batches=batches, answer=None if keep is None else answer, quota=limits.quota)
    return receipt(lake.append(project, delivery))


def _check_key(decoded: DecodedLines, component: str | None, *, may_add_events: bool) -> None:
    if component is not None and set(decoded.origins.component) - {component}:
        raise Forbidden("this key writes measurements and events of its own component only", code="other_component")
    if decoded.events.num_rows and not may_add_events:
        raise Forbidden("strings are stored as events, and this key lacks the scope events:write")


def _resolve_names(registry: KnowsNames, room: SeriesRoom, decoded: DecodedLines) -> None:
    project = room.project
    components = list(dict.fromkeys(decoded.origins.component))
    metrics: list[str] = decoded.measurements["metric"].chunk(0).dictionary.to_pylist()
    unknown_components, unknown_metrics = registry.find_unknown(project, components, metrics)
    if not unknown_components and not unknown_metrics:
        return
    if registry.registration_allowed(project):
        room.refuse_new_names(unknown_components, unknown_metrics)
        registry.register(project, unknown_components, unknown_metrics)
        return
    problems = [
        *_find_origins(decoded.origins.line, decoded.origins.component, "component", unknown_components),
        *_find_origins(decoded.origins.line, decoded.origins.metric, "metric", unknown_metrics),
    ]
    problems = sorted(set(problems), key=lambda problem: (problem.line, problem.field))
    code = "unknown_component" if unknown_components else "unknown_metric"
    raise LinesRefused(problems[:MAX_ROWS_NAMED], bad_lines=len({problem.line for problem in problems}), code=code)


def _find_origins(lines: list[int], names: list[str], field: str, unknown: Iterable[str]) -> list[LineProblem]:
    wanted = set(unknown)
    return [
        LineProblem(line=line, field=field, reason="is not registered")
        for line, name in zip(lines, names, strict=True)
        if name in wanted
    ]
