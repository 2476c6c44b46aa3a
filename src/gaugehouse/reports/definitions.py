"""What a template says: the question, its formats, targets, destinations, and what late data change. Pure."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, get_args

import msgspec

from gaugehouse.errors import Refused
from gaugehouse.inventory.checks import find_text_problem
from gaugehouse.query.components import show_name
from gaugehouse.reports.destinations import Destination, Reach, check_destinations, decode_destination
from gaugehouse.reports.request import (
    TITLE_CHARS,
    KpiTarget,
    ReportRequest,
    decode_request,
    encode_request,
    find_target_problem,
)

FileFormat = Literal["json", "csv", "xlsx", "parquet", "html", "pdf"]
FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
TARGETS_LIMIT = 100
SHORTEST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 7 * 86_400.0
# Names stand in addresses, file names and command lines.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class OnLateData(StrEnum):
    """When a report is issued again because rows came late."""

    NEVER = "never"
    DAILY = "daily"
    AT_ONCE = "at_once"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateDefinition:
    """A saved report.

    Args:
        title: For people; stands on the files and in messages.
        request: The question; its period is read at the moment that the report is asked for.
        formats: Files that are delivered.
        targets: By KPI.
        destinations: Where the files go.
        on_late_data: Whether rows that come late lead to a new revision: never, at most once a day (of the report's
            zone), or as soon as they are seen, but no sooner than `minimum_pause_s` after the last revision.
        minimum_pause_s: 60 s to 7 days. [s]
    """

    title: str
    request: ReportRequest
    formats: tuple[FileFormat, ...] = ("pdf",)
    targets: Mapping[str, KpiTarget] = field(default_factory=dict)
    destinations: tuple[Destination, ...] = ()
    on_late_data: OnLateData = OnLateData.NEVER
    minimum_pause_s: float = 900.0


def check_name(name: str, what: str) -> None:
    """Refuse a name that could not stand in an address.

    Args:
        name: To be checked.
        what: Whose name, for the message.

    Raises:
        Refused: It could not.
    """
    if not NAME.fullmatch(name):
        raise Refused(
            f"{show_name(name)!r} cannot be the name of a {what}: use 1-63 of a-z, 0-9, '-' and '_', starting with a "
            "letter or digit",
            code="name_refused",
        )


def check_definition(definition: TemplateDefinition, reach: Reach) -> None:
    """Refuse a template that could not be kept or delivered; whether its question has an answer is looked up elsewhere.

    Raises:
        Refused: Title, formats, targets, destinations or pause cannot be; the message names which.
    """
    problem = find_text_problem(definition.title, limit_characters=TITLE_CHARS)
    if not definition.title.strip() or problem is not None:
        raise _refuse("title", f"title {problem or 'is empty'}")
    if not definition.formats or len(set(definition.formats)) < len(definition.formats):
        raise _refuse("formats", f"formats must be one or more of {', '.join(FORMATS)}, each once")
    if len(definition.targets) > TARGETS_LIMIT:
        raise _refuse("targets", f"targets are {len(definition.targets)}, at most {TARGETS_LIMIT} are allowed")
    for kpi, target in definition.targets.items():
        _check_target(kpi, target)
        if definition.request.kpis is not None and kpi not in definition.request.kpis:
            raise _refuse("targets", f"there is a target for {kpi!r}, which the report does not ask for")
    if not SHORTEST_PAUSE_S <= definition.minimum_pause_s <= LONGEST_PAUSE_S:
        raise _refuse(
            "minimum_pause_s", f"minimum_pause_s must be {SHORTEST_PAUSE_S:.0f} s to {LONGEST_PAUSE_S:.0f} s (7 days)"
        )
    check_destinations(definition.destinations, reach)


def _check_target(kpi: str, target: KpiTarget) -> None:
    if not kpi or find_text_problem(kpi, limit_characters=TITLE_CHARS) is not None:
        raise _refuse("targets", f"{show_name(kpi)!r} is no name of a KPI")
    problem = find_target_problem(kpi, target)
    if problem is not None:
        raise _refuse("targets", problem)


def _refuse(name: str, message: str) -> Refused:
    return Refused(message, code="template_refused", fields={"field": name})


def encode_definition(definition: TemplateDefinition) -> dict[str, Any]:
    """Return a definition as JSON-able values."""
    return {
        "title": definition.title,
        "request": encode_request(definition.request),
        "formats": list(definition.formats),
        "targets": {kpi: asdict(target) for kpi, target in definition.targets.items()},
        "destinations": [asdict(destination) for destination in definition.destinations],
        "on_late_data": definition.on_late_data.value,
        "minimum_pause_s": definition.minimum_pause_s,
    }


def decode_definition(encoded: Mapping[str, Any]) -> TemplateDefinition:
    """Return the definition that `encode_definition` wrote."""
    return TemplateDefinition(
        title=encoded["title"],
        request=decode_request(encoded["request"]),
        formats=tuple(encoded["formats"]),
        targets={kpi: msgspec.convert(target, KpiTarget) for kpi, target in encoded["targets"].items()},
        destinations=tuple(decode_destination(one) for one in encoded["destinations"]),
        on_late_data=OnLateData(encoded["on_late_data"]),
        minimum_pause_s=float(encoded["minimum_pause_s"]),
    )
