"""One delivery from bytes to receipt, against a lake and an inventory that only remember."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from gaugehouse.config import Settings
from gaugehouse.errors import Forbidden, RowsRefused, Unreadable
from gaugehouse.ingest import Limits, accept_events, accept_measurements
from gaugehouse.measurements.schema import EVENT_BATCH, MEASUREMENT_BATCH
from payloads import CSV, JSON, MEDIA_TYPES, write

RECEIVED_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
NO_CONFLICTS = pa.table({"component": pa.array([], pa.string())})
EVENT = b'[{"component":"a","kind":"k","occurred_at":"2026-01-01T00:00:00Z","body":1}]'


@dataclass
class Outcome:
    accepted: int
    conflicts: pa.Table = field(default_factory=lambda: NO_CONFLICTS)
    duplicates: int = 0
    late: int = 0
    received_at: datetime = RECEIVED_AT


@dataclass
class RememberingLake:
    conflicts: pa.Table = field(default_factory=lambda: NO_CONFLICTS)
    appended: list = field(default_factory=list)

    def append(self, project, delivery):
        ((table, batch),) = delivery.batches.items()
        assert batch.schema == (MEASUREMENT_BATCH if table == "measurements" else EVENT_BATCH)
        self.appended.append((project, batch))
        return Outcome(len(batch) - len(self.conflicts), self.conflicts)


@dataclass
class RememberingRegistry:
    components: set = field(default_factory=set)
    metrics: set = field(default_factory=set)
    allowed: bool = True

    def find_unknown(self, _project, components, metrics):
        return sorted(set(components) - self.components), sorted(set(metrics) - self.metrics)

    def register(self, _project, components, metrics):
        assert self.allowed
        self.components |= set(components)
        self.metrics |= set(metrics)

    def registration_allowed(self, _project):
        return self.allowed


@pytest.fixture
def lake():
    return RememberingLake()


@pytest.fixture
def registry():
    return RememberingRegistry()


@pytest.fixture
def accept(lake, registry):
    def call(body, media_type=JSON, **options):
        return accept_measurements(lake, registry, "default", body, media_type, limits=Limits(), **options)

    return call


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_delivery_of_every_format_is_registered_and_appended(media_type, rows, accept, lake, registry):
    receipt = accept(write(rows, media_type), media_type)
    assert (receipt.accepted, receipt.rejected, receipt.conflicts, receipt.received_at) == (6, 0, 0, RECEIVED_AT)
    assert (registry.components, registry.metrics) == ({"pump-0", "pump-1"}, {"temperature", "pressure"})
    assert [(project, len(batch)) for project, batch in lake.appended] == [("default", 6)]


def test_a_bad_row_refuses_all_and_nothing_is_registered_or_appended(rows, accept, lake, registry):
    rows[2]["value"] = "x"
    with pytest.raises(RowsRefused):
        accept(write(rows, JSON))
    assert (lake.appended, registry.components) == ([], set())


def test_partial_stores_the_good_rows_and_names_the_bad(rows, accept, lake, registry):
    rows[2] |= {"value": "x", "component": "never"}
    receipt = accept(write(rows, JSON), partial=True)
    assert (receipt.accepted, receipt.rejected) == (5, 1)
    assert receipt.problems[0].as_fields() == {"row": 2, "field": "value", "reason": "is text ('x'), not a number"}
    assert "never" not in registry.components


def test_a_delivery_without_good_rows_appends_nothing(accept, lake):
    receipt = accept(b'[{"component":1}]', partial=True)
    assert (receipt.accepted, receipt.rejected, receipt.received_at, lake.appended) == (0, 1, None, [])
    assert accept(b"[]").accepted == 0


def test_a_payload_that_cannot_be_read_registers_nothing(accept, registry):
    with pytest.raises(Unreadable):
        accept(b"[", partial=True)
    assert registry.components == set()


def test_a_key_of_one_component_writes_that_component_only(rows, accept, lake):
    with pytest.raises(Forbidden):
        accept(write(rows, JSON), component="pump-0")
    with pytest.raises(Forbidden):
        accept(write(rows, JSON), component="pump-0", partial=True)
    assert lake.appended == []
    own = [row for row in rows if row["component"] == "pump-0"]
    assert accept(write(own, CSV), CSV, component="pump-0").accepted == 3


def test_a_project_can_forbid_registration_of_components(rows, accept, lake, registry):
    registry.components, registry.metrics, registry.allowed = {"pump-0"}, {"temperature", "pressure"}, False
    with pytest.raises(RowsRefused) as refused:
        accept(write(rows, JSON))
    assert (refused.value.code, refused.value.bad_rows) == ("unknown_component", 3)
    assert [problem.row for problem in refused.value.problems] == [1, 3, 5]
    receipt = accept(write(rows, JSON), partial=True)
    assert (receipt.accepted, receipt.rejected) == (3, 3)
    assert lake.appended[0][1]["component"].unique().to_pylist() == ["pump-0"]


def test_a_project_can_forbid_registration_of_metrics(rows, accept, registry):
    registry.components, registry.metrics, registry.allowed = {"pump-0", "pump-1"}, {"temperature"}, False
    with pytest.raises(RowsRefused) as refused:
        accept(write(rows, JSON))
    assert (refused.value.code, [problem.row for problem in refused.value.problems]) == ("unknown_metric", [3, 4, 5])


def test_rows_are_named_by_their_place_in_the_payload_when_both_kinds_of_bad_rows_meet(rows, accept, registry):
    registry.components, registry.metrics, registry.allowed = {"pump-1"}, {"temperature", "pressure"}, False
    rows[0]["value"] = "x"
    receipt = accept(write(rows, JSON), partial=True)
    assert [(problem.row, problem.field) for problem in receipt.problems] == [
        (0, "value"),
        (2, "component"),
        (4, "component"),
    ]
    assert (receipt.accepted, receipt.rejected) == (3, 3)


def test_the_first_twenty_conflicts_are_named(rows, registry):
    conflicts = pa.table({"component": [f"c{i}" for i in range(30)], "stored_value": [1.0] * 30})
    receipt = accept_measurements(
        RememberingLake(conflicts), registry, "default", write(rows * 10, JSON), JSON, limits=Limits()
    )
    assert (receipt.conflicts, len(receipt.conflict_rows), receipt.accepted) == (30, 20, 30)
    assert receipt.conflict_rows[0] == {"component": "c0", "stored_value": 1.0}


def test_events_register_their_components_but_not_their_kinds(lake, registry):
    receipt = accept_events(lake, registry, "default", EVENT, JSON, limits=Limits())
    assert (receipt.accepted, registry.components, registry.metrics) == (1, {"a"}, set())
    with pytest.raises(Forbidden):
        accept_events(lake, registry, "default", EVENT, JSON, limits=Limits(), component="b")


def test_limits_are_settings():
    settings = Settings(rows_limit=7, json_rows_limit=5, line_limit_bytes=300, future_limit_s=9)
    limits = Limits.from_settings(settings)
    assert (limits.rows_limit, limits.json_rows_limit, limits.line_limit_bytes, limits.future_limit_s) == (7, 5, 300, 9)
    assert Limits.from_settings(Settings()) == Limits()
