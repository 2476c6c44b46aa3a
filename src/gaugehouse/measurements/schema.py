"""Arrow schemas: the one wire between rooms for measurements and events.

A *batch* is what a sender delivered, decoded and checked; rows of the *lake* carry what the service added
(`received_at`) and are stored without the partition columns `project` and `month`, as Delta Lake does.
"""

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
NAME = pa.dictionary(pa.int32(), pa.string())  # names repeat in every row: codes are 4 bytes and cheap to compare

QUALITY_GOOD = 0
QUALITY_UNCERTAIN = 1
QUALITY_BAD = 2  # the only quality whose value may be null

MEASUREMENT_BATCH = pa.schema(
    [
        pa.field("component", NAME, nullable=False),
        pa.field("metric", NAME, nullable=False),
        pa.field("measured_at", TIMESTAMP, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("quality", pa.uint8(), nullable=False),
    ]
)

EVENT_BATCH = pa.schema(
    [
        pa.field("component", NAME, nullable=False),
        pa.field("kind", NAME, nullable=False),
        pa.field("occurred_at", TIMESTAMP, nullable=False),
        pa.field("body", pa.string(), nullable=False),  # canonical JSON text
        pa.field("body_hash", pa.binary(16), nullable=False),  # BLAKE2b-128 of the body
    ]
)

MEASUREMENT_ROWS = pa.schema(
    [
        pa.field("component", pa.string()),
        pa.field("metric", pa.string()),
        pa.field("measured_at", TIMESTAMP),
        pa.field("value", pa.float64()),
        pa.field("quality", pa.uint8()),
        pa.field("received_at", TIMESTAMP),
    ]
)

EVENT_ROWS = pa.schema(
    [
        pa.field("component", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("occurred_at", TIMESTAMP),
        pa.field("body", pa.string()),
        pa.field("body_hash", pa.binary()),
        pa.field("received_at", TIMESTAMP),
    ]
)

# One KPI of one component in one bucket, as one revision of a report says it.
VALUE_ROWS = pa.schema(
    [
        pa.field("report_id", pa.string()),
        pa.field("revision", pa.int32()),
        pa.field("component", pa.string()),
        pa.field("metric", pa.string()),  # null: the component never sent anything
        pa.field("kpi", pa.string()),
        pa.field("bucket_start", TIMESTAMP),
        pa.field("bucket_end", TIMESTAMP),
        pa.field("value", pa.float64()),
        pa.field("unit", pa.string()),
        pa.field("coverage", pa.float64()),
        pa.field("status", pa.string()),
        pa.field("computed_at", TIMESTAMP),
    ]
)
