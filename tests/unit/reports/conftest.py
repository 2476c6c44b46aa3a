"""Pins and series in memory."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gaugehouse.measurements.metric import MetricAttributes, MetricKind
from gaugehouse.measurements.period import Period
from gaugehouse.measurements.selection import to_epoch_us
from gaugehouse.measurements.series import SeriesRows
from gaugehouse.reports import DEFAULT_KPIS
from gaugehouse.reports.pin import Pin, PinnedComponent, PinnedSeries

T0 = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def make_series() -> Callable[..., PinnedSeries]:
    def make(component: str, metric: str, kind: MetricKind = MetricKind.GAUGE, **attributes) -> PinnedSeries:
        return PinnedSeries(component=component, metric=metric, attributes=MetricAttributes(kind=kind, **attributes))

    return make


@pytest.fixture
def make_rows() -> Callable[..., SeriesRows]:
    """Build rows from {(component, metric): [(seconds since T0, value), ...]}."""

    def make(points: dict[tuple[str, str], Sequence[tuple[float, float]]]) -> SeriesRows:
        keys = sorted(points)
        lengths = [len(points[key]) for key in keys]
        flat = [point for key in keys for point in points[key]]
        return SeriesRows(
            components=[component for component, _ in keys],
            metrics=[metric for _, metric in keys],
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            measured_at_us=np.array([to_epoch_us(T0) + int(s * 1e6) for s, _ in flat], dtype=np.int64),
            value=np.array([value for _, value in flat], dtype=np.float64),
            quality=np.zeros(len(flat), dtype=np.uint8),
        )

    return make


@pytest.fixture
def make_pin() -> Callable[..., Pin]:
    def make(series: Sequence[PinnedSeries], *, days: int = 1, silent: Sequence[str] = (), **changes) -> Pin:
        start = to_epoch_us(T0)
        fields = {
            "project": "default",
            "as_of": T0 + timedelta(days=60),
            "asked_at": T0 + timedelta(days=61),
            "period": Period(start=T0, end=T0 + timedelta(days=days), timezone="UTC", expression="2026-03"),
            "bucket": "day" if days > 1 else None,
            "edges_us": start + np.arange(days + 1, dtype=np.int64) * 86_400_000_000,
            "components": tuple(
                PinnedComponent(name=name, labels={"line": "A"})
                for name in sorted({one.component for one in series} | set(silent))
            ),
            "series": tuple(series),
            "kpis": dict(DEFAULT_KPIS),
            "catalogue_version": "1",
            "tzdata_version": "2026a",
            "code_version": "0.1.0",
        }
        return Pin(**(fields | changes))

    return make
