"""A few measurements as plain lists: for one row, five Arrow arrays cost more than all the rest of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from gaugehouse.measurements.schema import MEASUREMENT_BATCH, TIMESTAMP


@dataclass(frozen=True, slots=True, kw_only=True)
class FewMeasurements:
    """Checked rows of a small delivery, one list per column of MEASUREMENT_BATCH.

    Args:
        component: Names.
        metric: Names.
        measured_at_us: Instants. [us since 1970 UTC]
        value: Finite numbers; None only with quality 2.
        quality: 0, 1 or 2.
    """

    component: list[str]
    metric: list[str]
    measured_at_us: list[int]
    value: list[float | None]
    quality: list[int]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.value)


def few_to_arrow(several: Sequence[FewMeasurements]) -> pa.Table:
    """Return the rows of several deliveries, in order, as one MEASUREMENT_BATCH."""
    return pa.Table.from_arrays(
        [
            pa.array(list(chain.from_iterable(few.component for few in several)), pa.string()).dictionary_encode(),
            pa.array(list(chain.from_iterable(few.metric for few in several)), pa.string()).dictionary_encode(),
            pa.array(list(chain.from_iterable(few.measured_at_us for few in several)), TIMESTAMP),
            pa.array(list(chain.from_iterable(few.value for few in several)), pa.float64()),
            pa.array(list(chain.from_iterable(few.quality for few in several)), pa.uint8()),
        ],
        schema=MEASUREMENT_BATCH,
    )
