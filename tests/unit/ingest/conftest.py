"""A clock, limits and rows for decoding."""

from datetime import UTC, datetime, timedelta

import pytest

from gaugehouse.ingest import Limits, decode_events, decode_measurements

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def now():
    return NOW


@pytest.fixture(scope="session")
def decode():
    def call(body, media_type, *, partial=False, limits=None, time_unit=None):
        return decode_measurements(
            body, media_type, limits=limits or Limits(), now=NOW, partial=partial, time_unit=time_unit
        )

    return call


@pytest.fixture(scope="session")
def decode_event_rows():
    def call(body, media_type, *, partial=False, limits=None, time_unit=None):
        return decode_events(body, media_type, limits=limits or Limits(), now=NOW, partial=partial, time_unit=time_unit)

    return call


@pytest.fixture
def rows():
    """Six good rows: two components, two metrics, every quality, a null."""
    return [
        {
            "component": f"pump-{i % 2}",
            "metric": ["temperature", "pressure"][i // 3],
            "measured_at": NOW - timedelta(seconds=i, microseconds=i),
            "value": None if i == 5 else i * 0.1,
            "quality": [0, 1, 2][i % 3],
        }
        for i in range(6)
    ]
