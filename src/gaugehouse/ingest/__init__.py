"""One delivery: decode by format, check, register, append, receipt.

Entry: `accept_measurements`, `accept_events`, `accept_lines` (a request), `decode_measurements`, `decode_events`,
`decode_lines`, `decode_known`, `decode_few` (bytes to a batch), `read_file` (files of others, for the import command).
Line protocol is split by compiled passes (`line_scan`), its keys are read by `line_keys`, `line_protocol` joins them.
All or nothing, unless asked for less. May import: inventory, lake, measurements, config, errors.
Invariants: columnar, no object per row once decoded; whatever the bytes are, the only exceptions are GaugehouseErrors;
bad rows are named by their 0-based row in the payload; a fast reader that cannot vouch for what it read hands over to a
slower one, and all of them agree (tests compare each with the row-wise one).
"""

from gaugehouse.ingest.accept import SeriesRoom, accept_events, accept_measurements, decode_known
from gaugehouse.ingest.accept_lines import accept_lines
from gaugehouse.ingest.check import Decoded
from gaugehouse.ingest.decode import decode_events, decode_measurements
from gaugehouse.ingest.few_rows import decode_few
from gaugehouse.ingest.file_mapping import ColumnMapping
from gaugehouse.ingest.file_sources import count_rows_hint
from gaugehouse.ingest.files import FileSummary, read_file
from gaugehouse.ingest.instants import TimeUnit
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.line_cells import Precision
from gaugehouse.ingest.line_keys import LineMapping
from gaugehouse.ingest.line_protocol import decode_lines, warm_up
from gaugehouse.ingest.media import FORMATS, Format, find_format
from gaugehouse.ingest.receipts import Keep, Receipt, receipt_of, write_receipt

__all__ = [
    "FORMATS",
    "ColumnMapping",
    "Decoded",
    "FileSummary",
    "Format",
    "Keep",
    "Limits",
    "LineMapping",
    "Precision",
    "Receipt",
    "SeriesRoom",
    "TimeUnit",
    "accept_events",
    "accept_lines",
    "accept_measurements",
    "count_rows_hint",
    "decode_events",
    "decode_few",
    "decode_known",
    "decode_lines",
    "decode_measurements",
    "find_format",
    "read_file",
    "receipt_of",
    "warm_up",
    "write_receipt",
]
