"""The workload: 100 components x 4 metrics per minute, decimal values, arrival by time, as payloads of each format."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

METRICS = ("temperature", "pressure", "vibration", "power")
COMPONENTS = 100
FIRST_MINUTE_US = 1_577_836_800_000_000  # 2020-01-01: years of room before any row would lie in the future
MINUTE_US = 60_000_000
SEED = 20
NAME = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """One connection's share of the components; it alone sends them, so each series arrives by time.

    Args:
        prefix: Makes the components of one measurement distinct from another's.
        number: Which sender, from 0.
        senders: Of how many.
    """

    prefix: str
    number: int
    senders: int

    @property
    def components(self) -> list[str]:
        """Names of this sender's components."""
        return [f"{self.prefix}-{row:03d}" for row in range(self.number, COMPONENTS, self.senders)]

    def minutes_per_batch(self, rows: int) -> int:
        """Return how many minutes of all series make about `rows` rows."""
        return max(1, rows // (len(self.components) * len(METRICS)))

    def batch(self, first_minute: int, minutes: int, *, every_minutes: int = 1) -> pa.Table:
        """Return so many rows of all this sender's series, ordered by time: one per `every_minutes`."""
        components = self.components
        per_minute = len(components) * len(METRICS)
        rows = minutes * per_minute
        minute = first_minute + np.arange(minutes) * every_minutes
        phase = np.arange(per_minute)
        noise = np.random.default_rng([SEED, self.number, first_minute]).normal(0, 0.8, (minutes, per_minute))
        values = 50 + phase[None, :] % 17 + 8 * np.sin(2 * np.pi * minute / 1440)[:, None] + noise
        component_codes = np.tile(np.repeat(np.arange(len(components), dtype=np.int32), len(METRICS)), minutes)
        metric_codes = np.tile(np.arange(len(METRICS), dtype=np.int32), minutes * len(components))
        measured_at_us = np.repeat(FIRST_MINUTE_US + minute * MINUTE_US, per_minute)
        return pa.table(
            {
                "component": pa.DictionaryArray.from_arrays(pa.array(component_codes), pa.array(components)),
                "metric": pa.DictionaryArray.from_arrays(pa.array(metric_codes), pa.array(METRICS)),
                "measured_at": pa.array(measured_at_us, pa.timestamp("us", tz="UTC")),
                "value": pa.array(np.round(values.reshape(rows), 2)),
            }
        )


def _as_text_frame(batch: pa.Table) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(batch))
    return frame.with_columns(
        pl.col("component", "metric").cast(pl.String),
        pl.col("measured_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def encode_json(batch: pa.Table) -> bytes:
    """Return a JSON array of row objects."""
    return _as_text_frame(batch).write_json().encode()


def encode_columnar_json(batch: pa.Table) -> bytes:
    """Return one JSON object of columns."""
    columns = _as_text_frame(batch).to_dict(as_series=False)
    return json.dumps(columns, separators=(",", ":")).encode()


def encode_ndjson(batch: pa.Table) -> bytes:
    """Return one JSON object per line."""
    return _as_text_frame(batch).write_ndjson().encode()


def encode_csv(batch: pa.Table) -> bytes:
    """Return CSV with a header."""
    return _as_text_frame(batch).write_csv().encode()


def encode_arrow(batch: pa.Table) -> bytes:
    """Return an uncompressed Arrow IPC stream with dictionary names."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_table(batch)
    return sink.getvalue()


def encode_parquet(batch: pa.Table) -> bytes:
    """Return a Parquet file, zstd."""
    sink = io.BytesIO()
    pq.write_table(batch, sink, compression="zstd")
    return sink.getvalue()


def _line_columns(batch: pa.Table) -> pl.DataFrame:
    """Return component, field (`name=value`) and time (ns, as InfluxDB's clients and Telegraf send it) as text."""
    return pl.DataFrame(pl.from_arrow(batch)).select(
        component=pl.concat_str(pl.lit("plant,component="), pl.col("component").cast(pl.String)),
        field=pl.concat_str(pl.col("metric").cast(pl.String), pl.lit("="), pl.col("value").cast(pl.String)),
        time=pl.concat_str(pl.col("measured_at").dt.epoch("us").cast(pl.String), pl.lit("000")),
    )


def encode_lines(batch: pa.Table) -> bytes:
    """Return line protocol, one line per component and minute with all its metrics as fields."""
    columns = _line_columns(batch)
    names = [f"field-{number}" for number in range(len(METRICS))]
    fields = pl.DataFrame(columns["field"].to_numpy().reshape(-1, len(METRICS)), schema=names)
    heads = columns.gather_every(len(METRICS)).select("component", "time")
    lines = pl.concat([heads, fields], how="horizontal")
    text = pl.concat_str("component", pl.concat_str(names, separator=","), "time", separator=" ")
    return ("\n".join(lines.select(text).to_series().to_list()) + "\n").encode()


def encode_single_lines(batch: pa.Table) -> bytes:
    """Return line protocol, one line per row."""
    text = pl.concat_str("component", "field", "time", separator=" ")
    return ("\n".join(_line_columns(batch).select(text).to_series().to_list()) + "\n").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How payloads of a format are made and announced; `rows` per request stays inside the service's limits."""

    name: str
    content_type: str
    encode: Callable[[pa.Table], bytes]
    rows: int
    path: str = "/v1/measurements"

    @property
    def is_lines(self) -> bool:
        """Whether servers of other makers take it, too."""
        return self.path == LINES_PATH


LINES_PATH = "/api/v2/write?bucket=default&precision=ns"
LINES = 10_000  # in a body


FORMATS = (
    Format(name="json", content_type="application/json", encode=encode_json, rows=20_000),
    Format(name="json-1000", content_type="application/json", encode=encode_json, rows=1_000),
    Format(name="columnar-json", content_type="application/json", encode=encode_columnar_json, rows=20_000),
    Format(name="ndjson", content_type="application/x-ndjson", encode=encode_ndjson, rows=50_000),
    Format(name="csv", content_type="text/csv", encode=encode_csv, rows=50_000),
    Format(name="arrow", content_type="application/vnd.apache.arrow.stream", encode=encode_arrow, rows=50_000),
    Format(name="parquet", content_type="application/vnd.apache.parquet", encode=encode_parquet, rows=50_000),
    Format(name="lines", content_type="text/plain", encode=encode_lines, rows=len(METRICS) * LINES, path=LINES_PATH),
    Format(name="lines-1-field", content_type="text/plain", encode=encode_single_lines, rows=LINES, path=LINES_PATH),
)
