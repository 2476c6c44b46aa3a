"""How much one delivery may hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gaugehouse.config import MEBIBYTE, Settings
from gaugehouse.limits import NO_QUOTA, Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one delivery.

    Args:
        rows_limit: Most rows in one delivery.
        json_rows_limit: Most rows in one JSON array.
        line_limit_bytes: Longest NDJSON or CSV line, and longest event body. [bytes]
        future_limit_s: Rows dated further ahead of the clock are refused. [s]
        decoded_limit_bytes: Most bytes a compressed Arrow or Parquet payload may decode to. [bytes]
        columns_limit: Most columns of an Arrow or Parquet payload.
        csv_fields_limit: Most fields of a CSV line.
        depth_limit: Deepest nesting of an event body.
        batches_limit: Most record batches (Arrow) or row groups (Parquet).
        lateness_limit_s: Rows dated further behind the clock are refused; None takes any age. [s]
        kept_from: Time column -> instant before which the project keeps no rows.
        quota: What the project may keep and bring over all deliveries.
    """

    rows_limit: int = 100_000
    json_rows_limit: int = 20_000
    line_limit_bytes: int = 64 * 1024
    future_limit_s: float = 86_400.0
    decoded_limit_bytes: int = 64 * MEBIBYTE
    columns_limit: int = 64
    csv_fields_limit: int = 32
    depth_limit: int = 8
    batches_limit: int = 1000
    lateness_limit_s: float | None = None
    kept_from: Mapping[str, datetime] = field(default_factory=dict)
    quota: Quota = NO_QUOTA

    @classmethod
    def from_settings(cls, settings: Settings) -> "Limits":
        return cls(
            rows_limit=settings.rows_limit,
            json_rows_limit=settings.json_rows_limit,
            line_limit_bytes=settings.line_limit_bytes,
            future_limit_s=settings.future_limit_s,
        )
