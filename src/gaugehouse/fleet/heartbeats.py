"""One heartbeat of a device: from its JSON to three rows of one instant."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from gaugehouse.errors import Forbidden, Refused, Unreadable
from gaugehouse.ingest import Limits, SeriesRoom
from gaugehouse.ingest.columns import EXACT_INTEGER_LIMIT
from gaugehouse.ingest.few_rows import accepted_span_us
from gaugehouse.ingest.instants import parse_instant_text
from gaugehouse.lake import Appended, Delivery
from gaugehouse.measurements.few import FewMeasurements
from gaugehouse.measurements.heartbeat import BATTERY, ONLINE, RSSI, STATUS_KINDS, STATUS_METRICS
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.measurements.schema import QUALITY_GOOD
from gaugehouse.measurements.selection import from_epoch_us

LARGEST_PERCENT = 100


class KnowsNames(Protocol):
    """The part of the inventory that the rows of devices need."""

    def find_unknown(self, project: str, components: list[str], metrics: list[str]) -> tuple[list[str], list[str]]: ...
    def register(
        self, project: str, components: list[str], metrics: list[str], *, kinds: Mapping[str, str]
    ) -> None: ...
    def registration_allowed(self, project: str) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """What a device says of itself at one instant.

    Args:
        component: Name of the device.
        measured_at_us: When. [us since 1970 UTC]
        battery_level: 0 to 100. [%]
        rssi: Strength of its radio signal. [dBm]
        is_online: Whether it says that it is online.
    """

    component: str
    measured_at_us: int
    battery_level: float
    rssi: float
    is_online: bool

    def rows(self) -> FewMeasurements:
        """Return its three rows."""
        return FewMeasurements(
            component=[self.component] * len(STATUS_METRICS),
            metric=[BATTERY, RSSI, ONLINE],
            measured_at_us=[self.measured_at_us] * len(STATUS_METRICS),
            value=[self.battery_level, self.rssi, float(self.is_online)],
            quality=[QUALITY_GOOD] * len(STATUS_METRICS),
        )


def read_heartbeat(body: bytes, *, limits: Limits, now: datetime | None = None) -> Heartbeat:
    """Return the heartbeat of `{device_id, timestamp, battery_level, rssi, online}`; other members are passed over.

    Args:
        body: JSON.
        limits: How old and how far ahead of the clock it may be.
        now: The clock; that of this machine without it.

    Raises:
        Unreadable: Not JSON.
        Refused: A member is missing or cannot be what it is; every one is named.
    """
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):  # UnicodeDecodeError is one of them
        raise Unreadable("the body is not valid JSON") from None
    if not isinstance(sent, dict):
        raise refuse_fields({"body": "must be an object with device_id, timestamp, battery_level, rssi, online"})
    problems = {name: find(sent.get(name)) if name in sent else "Field required" for name, find in _FINDERS.items()}
    instant_us = parse_instant_text(sent["timestamp"]) if problems["timestamp"] is None else 0
    if problems["timestamp"] is None:
        problems["timestamp"] = find_instant_problem(instant_us, limits, now or datetime.now(UTC))
    wrong = {f"body.{name}": reason for name, reason in problems.items() if reason is not None}
    if wrong:
        raise refuse_fields(wrong)
    return Heartbeat(
        component=sent["device_id"],
        measured_at_us=int(instant_us),
        battery_level=float(sent["battery_level"]),
        rssi=float(sent["rssi"]),
        is_online=sent["online"],
    )


def refuse_fields(problems: Mapping[str, str], *, code: str = "request_refused") -> Refused:
    """Return the refusal of a request whose named parts cannot be accepted."""
    named = [{"field": field, "reason": reason, "code": "value_refused"} for field, reason in problems.items()]
    field, reason = next(iter(problems.items()))
    return Refused(f"{field} {reason}", code=code, fields={"errors": named})


def find_instant_problem(instant_us: int | str, limits: Limits, now: datetime) -> str | None:
    """Return why a device cannot report of an instant [us], None when it can; a text is why it is none at all."""
    if isinstance(instant_us, str):
        return instant_us
    earliest_us, latest_us = accepted_span_us(limits, now)
    if instant_us < earliest_us:
        return f"is before {from_epoch_us(earliest_us).isoformat()}, the earliest that this project takes"
    if instant_us > latest_us:
        return f"is too far ahead of the clock, which says {now.isoformat(timespec='seconds')}"
    return None


def _find_name_problem(value: object) -> str | None:
    return find_name_problem(value) if isinstance(value, str) else "must be a text"


def _find_text_problem(value: object) -> str | None:
    return None if isinstance(value, str) else "must be a text such as 2026-11-20T10:00:00Z"


def _find_number_problem(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    return None if abs(value) < EXACT_INTEGER_LIMIT else "must be a finite number below 2^53"


def _find_percent_problem(value: object) -> str | None:
    problem = _find_number_problem(value)
    if problem is None and isinstance(value, int | float) and not 0 <= value <= LARGEST_PERCENT:
        problem = "must be from 0 to 100"
    return problem


def _find_bool_problem(value: object) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


_FINDERS: Mapping[str, Callable[[object], str | None]] = {
    "device_id": _find_name_problem,
    "timestamp": _find_text_problem,
    "battery_level": _find_percent_problem,
    "rssi": _find_number_problem,
    "online": _find_bool_problem,
}


def accept_rows(
    room: SeriesRoom,
    registry: KnowsNames,
    rows: FewMeasurements,
    *,
    kinds: Mapping[str, str],
    component: str | None,
) -> Appended:
    """Store rows of one device; returns when they are durable.

    Args:
        room: Where rows are appended, and what of them the project may still bring.
        registry: Where names are known.
        rows: Checked rows.
        kinds: Kind of each metric, for those that nobody has registered yet.
        component: The only component that the caller's key may write.

    Raises:
        Forbidden: The key is another device's.
        Refused: The project does not let deliveries register the device or its metrics, or has no room for them.
        Throttled: The project has brought its rows of the day.
        GaugehouseError: What the lake raises.
    """
    project, device = room.project, rows.component[0]
    if component is not None and component != device:
        raise Forbidden("this key writes measurements and events of its own component only", code="other_component")
    unknown_components, unknown_metrics = registry.find_unknown(project, [device], list(kinds))
    if unknown_components or unknown_metrics:
        if not registry.registration_allowed(project):
            column = "component" if unknown_components else "metric"
            name = [*unknown_components, *unknown_metrics][0]
            field = "body.device_id" if unknown_components else f"body.{name}"
            raise refuse_fields({field: f"is not registered: {name}"}, code=f"unknown_{column}")
        room.refuse_new_names(unknown_components, unknown_metrics)
        registry.register(project, unknown_components, unknown_metrics, kinds=kinds)
    return room.lake.append(project, Delivery(batches={"measurements": rows}, quota=room.quota))


def accept_heartbeat(
    room: SeriesRoom, registry: KnowsNames, heartbeat: Heartbeat, *, component: str | None
) -> Appended:
    """Store a heartbeat; returns when it is durable. Arguments and errors as `accept_rows`."""
    return accept_rows(room, registry, heartbeat.rows(), kinds=STATUS_KINDS, component=component)
