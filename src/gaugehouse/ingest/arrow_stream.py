"""Arrow IPC streams from outside: framing and sizes first, schema second, values only of validated batches.

Without `validate(full=True)` mutated streams crashed the process (RELIABILITY, section 3).
"""

import pyarrow as pa

from gaugehouse.errors import Unreadable
from gaugehouse.ingest.arrow_framing import check_framing
from gaugehouse.ingest.columns import RawEvents, RawMeasurements
from gaugehouse.ingest.explain import EVENT_COLUMNS, MEASUREMENT_COLUMNS
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.tables import check_schema, events_from_table, measurements_from_table
from gaugehouse.ingest.texts import refuse_rows


def read_arrow_measurements(body: bytes, *, limits: Limits, time_unit: str | None) -> RawMeasurements:
    """Return the rows of an Arrow IPC stream.

    Raises:
        Unreadable: Not an Arrow stream, or a damaged one.
        Refused: Columns are unknown, missing, repeated or of a type that is not read.
        TooLarge: Too many rows or batches, or too many bytes once decoded.
    """
    table = _read_table(body, MEASUREMENT_COLUMNS, limits, time_unit)
    return measurements_from_table(table, time_unit=time_unit)


def read_arrow_events(body: bytes, *, limits: Limits, time_unit: str | None) -> RawEvents:
    """Return the rows of an Arrow IPC stream. Raises as for measurements."""
    table = _read_table(body, EVENT_COLUMNS, limits, time_unit)
    return events_from_table(table, time_unit=time_unit, limits=limits)


def _read_table(body: bytes, known: tuple[str, ...], limits: Limits, time_unit: str | None) -> pa.Table:
    check_framing(body, decoded_limit_bytes=limits.decoded_limit_bytes, batches_limit=limits.batches_limit)
    options = pa.ipc.IpcReadOptions(ensure_native_endian=False, use_threads=False)
    try:
        with pa.ipc.open_stream(pa.BufferReader(body), options=options) as reader:
            check_schema(reader.schema, known, limits=limits, time_unit=time_unit)
            batches = []
            row_count = 0
            for batch in reader:
                row_count += batch.num_rows
                if row_count > limits.rows_limit:
                    raise refuse_rows(limits.rows_limit)
                batch.validate(full=True)
                batches.append(batch)
            return pa.Table.from_batches(batches, schema=reader.schema)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:
        raise Unreadable("the payload is not a sound Arrow IPC stream") from exc
