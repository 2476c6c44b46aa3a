"""A pin is the same after a trip through the database."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.kpi import Definition
from gaugehouse.measurements.metric import MetricKind, StateClass
from gaugehouse.reports.pin import PinnedComponent, _decode_edges, _encode_edges, decode_pin, encode_pin


@pytest.fixture
def pin(make_pin, make_series):
    series = [
        make_series("pump-1", "parts", MetricKind.COUNTER, rollover_at=65536, max_rate=1e22, nominal_interval_s=60),
        make_series("pump-1", "running", MetricKind.STATE, state_classes={7.0: StateClass.PLANNED, 1.0: StateClass.UP}),
        make_series("pump-2", "temperature", unit="°C", usl=80),
        make_series("pump-3", "temperature", unit="°C", usl=80),
    ]
    retired = PinnedComponent(
        name="pump-0", type="pump", labels={"b": "2", "a": "1"}, retired_at=datetime(2026, 3, 2, tzinfo=UTC)
    )
    made = make_pin(series, days=40)
    return replace(made, components=(retired, *made.components))


def test_a_pin_survives_json(pin):
    decoded = decode_pin(json.loads(json.dumps(encode_pin(pin))))
    assert np.array_equal(decoded.edges_us, pin.edges_us)
    assert replace(decoded, edges_us=pin.edges_us) == pin


def test_a_pin_is_encoded_alike_after_a_database_rewrote_its_numbers_and_keys(pin):
    encoded = encode_pin(pin)

    def rewrite(value):
        if isinstance(value, dict):
            return {key: rewrite(value[key]) for key in sorted(value, reverse=True)}
        if isinstance(value, list):
            return [rewrite(one) for one in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    again = encode_pin(decode_pin(rewrite(encoded)))
    assert json.dumps(again, sort_keys=True) == json.dumps(encoded, sort_keys=True)


def test_what_formulas_need_survives_json_also_after_a_database_rewrote_its_numbers(pin, make_series):
    definition = Definition(name="cost", title="Cost", unit="EUR", formula="n", version=3, metric_units={"n": "kWh"})
    own = {"ideal_cycle_time_s": 9.0, "parts_metric": "parts"}
    components = (pin.components[0], replace(pin.components[1], attributes=own), *pin.components[2:])
    more = (make_series("pump-2", "parts", MetricKind.COUNTER),)
    needy = replace(pin, components=components, supporting=more, definitions=(definition,))
    encoded = encode_pin(needy)
    decoded = decode_pin(json.loads(json.dumps(encoded).replace("9.0", "9")))
    assert (decoded.definitions, decoded.supporting, decoded.components) == ((definition,), more, components)
    assert encode_pin(decoded) == encoded


def test_a_pin_without_formulas_of_its_own_is_written_as_before(pin):
    assert not {"component_attributes", "supporting", "definitions"} & set(encode_pin(pin))
    assert decode_pin(encode_pin(pin)).definitions == ()


def test_attributes_that_repeat_are_written_once(pin):
    assert len(encode_pin(pin)["attributes"]) == 3


def test_an_empty_lake_is_pinned_without_a_moment(make_pin):
    assert decode_pin(encode_pin(make_pin([], as_of=None))).as_of is None


@given(st.lists(st.integers(min_value=1, max_value=3), min_size=1, max_size=60), st.integers(0, 2**50))
def test_edges_of_any_steps_survive(steps, first):
    edges = np.concatenate([[first], first + np.cumsum(steps)]).astype(np.int64)
    assert np.array_equal(_decode_edges(json.loads(json.dumps(_encode_edges(edges)))), edges)


def test_a_year_of_hours_is_a_short_pin():
    edges = np.arange(8761, dtype=np.int64) * 3_600_000_000
    assert len(json.dumps(_encode_edges(edges))) < 40
    assert timedelta(microseconds=int(edges[-1])) == timedelta(days=365)
