"""The metrics that a component's OEE is computed from: checked, read, and looked up for what may be a slip."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from gaugehouse.database.tables import Metric
from gaugehouse.inventory.checks import find_number_problem, split_names
from gaugehouse.measurements.metric import MetricKind
from gaugehouse.measurements.names import find_name_problem
from gaugehouse.measurements.oee import OeeAttributes

COUNTING = frozenset({MetricKind.COUNTER, MetricKind.DELTA})
KINDS_OF: Mapping[str, frozenset[MetricKind]] = {
    "state_metric": frozenset({MetricKind.STATE}),
    "parts_metric": COUNTING,
    "good_metric": COUNTING,
    "scrap_metric": COUNTING,
}
FIELDS = tuple(field.name for field in fields(OeeAttributes))


def find_oee_problem(oee: Mapping[str, object]) -> str | None:
    """Return why OEE attributes cannot be kept, or None. A metric may be named before its first row arrives."""
    said = {name: value for name, value in oee.items() if value is not None}
    for name, value in said.items():
        if name not in FIELDS:
            return f"have no field {name[:64]!r}; there are {', '.join(FIELDS)}"
        problem = _find_field_problem(name, value)
        if problem is not None:
            return f"have a {name} that {problem}"
    if "good_metric" in said and "scrap_metric" in said:
        return "name a good_metric and a scrap_metric; give one of them, the other follows from parts_metric"
    if "parts_metric" in said and "good_metric" not in said and "scrap_metric" not in said:
        return "name a parts_metric, but neither good_metric nor scrap_metric; give one of them"
    if "parts_metric" not in said and ("good_metric" in said or "scrap_metric" in said):
        return "count good or bad parts without a parts_metric"
    return None


def read_oee(stored: Mapping[str, object] | None) -> OeeAttributes | None:
    """Return the attributes of a component's row; None where it has none."""
    if not stored:
        return None
    values = {name: stored.get(name) for name in FIELDS}
    cycle_s = values["ideal_cycle_time_s"]
    texts = {name: None if values[name] is None else str(values[name]) for name in KINDS_OF}
    return OeeAttributes(**texts, ideal_cycle_time_s=cycle_s if cycle_s is None else float(str(cycle_s)))


def find_oee_hints(session: Session, project_id: str, several: Sequence[Mapping[str, object]]) -> list[tuple[str, ...]]:
    """Return what is worth a second look in each of several OEE attributes: unseen metrics, metrics of other kinds."""
    asked = {str(oee[field]) for oee in several for field in KINDS_OF if oee.get(field) is not None}
    kind_of: dict[str, str | None] = {}
    for portion in split_names(sorted(asked)):
        statement = select(Metric.name, Metric.kind).where(
            Metric.project_id == project_id, Metric.component_id.is_(None), Metric.name.in_(portion)
        )
        kind_of |= {row.name: row.kind for row in session.execute(statement)}
    return [tuple(_find_hints(oee, kind_of)) for oee in several]


def hint_unseen(field: str, metric: str) -> str:
    """Return the hint that nothing is known of a metric that was named."""
    return f"{field}: nobody has sent or described a metric {metric!r} yet; check how it is written"


def _find_field_problem(name: str, value: object) -> str | None:
    if name not in KINDS_OF:
        return find_number_problem(value, positive=True)
    return find_name_problem(value) if isinstance(value, str) else "is not text"


def _find_hints(oee: Mapping[str, object], kind_of: Mapping[str, str | None]) -> list[str]:
    hints = []
    for field, kinds in KINDS_OF.items():
        metric = oee.get(field)
        if metric is None:
            continue
        if metric not in kind_of:
            hints.append(hint_unseen(field, str(metric)))
        elif (kind_of[str(metric)] or MetricKind.GAUGE) not in kinds:
            hints.append(f"{field}: the metric {metric!r} is not of kind {' or '.join(sorted(kinds))}; set its kind")
    return hints
