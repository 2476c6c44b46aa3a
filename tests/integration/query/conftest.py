"""A real lake and a database, for questions over rows in memory and in files at once."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from gaugehouse.config import Layout, Settings
from gaugehouse.lake import Lake
from gaugehouse.measurements.schema import MEASUREMENT_BATCH


class OpenLake:
    """A lake with a short way to deliver rows."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.pin = lake.pin
        self.flush = lake.flush

    def deliver(self, rows: Sequence[tuple], project: str = "default"):
        """Append (component, metric, measured_at, value[, quality])."""
        columns = list(zip(*((*row[:4], row[4] if len(row) > 4 else 0) for row in rows), strict=True))
        arrays = [pa.array(column, field.type) for column, field in zip(columns, MEASUREMENT_BATCH, strict=True)]
        return self.lake.append_measurements(project, pa.table(arrays, schema=MEASUREMENT_BATCH))


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[OpenLake]:
    layout = Layout(tmp_path / "data")
    opened = Lake.open(layout, Settings(data_dir=layout.data_dir, segment_age_s=3600))
    yield OpenLake(opened)
    opened.close()
