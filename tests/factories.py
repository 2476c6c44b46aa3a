"""Small builders of batches that tests of several rooms share."""

import json
from hashlib import blake2b

import pyarrow as pa

from gaugehouse.measurements.schema import EVENT_BATCH, MEASUREMENT_BATCH, TIMESTAMP


def measurement_batch(rows, *, quality=None):
    """Return a MEASUREMENT_BATCH of (component, metric, measured_at_us, value[, quality]) tuples."""
    return pa.Table.from_arrays(
        [
            pa.array([row[0] for row in rows], pa.string()).dictionary_encode(),
            pa.array([row[1] for row in rows], pa.string()).dictionary_encode(),
            pa.array([row[2] for row in rows], pa.int64()).cast(TIMESTAMP),
            pa.array([row[3] for row in rows], pa.float64()),
            pa.array([row[4] if len(row) > 4 else (quality or 0) for row in rows], pa.uint8()),
        ],
        schema=MEASUREMENT_BATCH,
    )


def event_batch(rows):
    """Return an EVENT_BATCH of (component, kind, occurred_at_us, body) tuples."""
    bodies = [json.dumps(row[3], sort_keys=True, separators=(",", ":")) for row in rows]
    return pa.Table.from_arrays(
        [
            pa.array([row[0] for row in rows], pa.string()).dictionary_encode(),
            pa.array([row[1] for row in rows], pa.string()).dictionary_encode(),
            pa.array([row[2] for row in rows], pa.int64()).cast(TIMESTAMP),
            pa.array(bodies, pa.string()),
            pa.array([blake2b(body.encode(), digest_size=16).digest() for body in bodies], pa.binary(16)),
        ],
        schema=EVENT_BATCH,
    )
