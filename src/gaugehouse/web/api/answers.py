"""From a question about rows to its answer in the wanted form."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote, urlencode

import pyarrow as pa
from fastapi import Request
from starlette.responses import Response

from gaugehouse.errors import Refused
from gaugehouse.measurements.selection import Selection
from gaugehouse.query import Page, find_as_of, read_buckets, read_events, read_measurements
from gaugehouse.query.resolution import find_every
from gaugehouse.runtime import Runtime
from gaugehouse.web.api.asked import DEFAULT_PAGE_ROWS, Fineness, Paging, Span
from gaugehouse.web.encode import link_next, page_rows, stream_rows
from gaugehouse.web.negotiate import Format


def select(
    project: str, components: tuple[str, ...] | None, metrics: list[str] | None, span: Span | None = None
) -> Selection:
    """Return the rows a question is about."""
    selection = Selection(project=project, components=components, metrics=None if metrics is None else tuple(metrics))
    return selection if span is None else replace(selection, start=span.start, end=span.end, as_of=span.as_of)


def _limit_page(paging: Paging, answer_format: Format, page_limit_rows: int) -> int | None:
    if answer_format is not Format.JSON:
        return paging.limit
    limit = min(DEFAULT_PAGE_ROWS, page_limit_rows) if paging.limit is None else paging.limit
    if limit > page_limit_rows:
        raise Refused(
            f"a JSON page holds at most {page_limit_rows} rows, not {limit}; other formats stream without a limit",
            code="limit_refused",
        )
    return limit


def next_url(request: Request, cursor: str | None) -> str:
    """Return the address of the next page of what a request asked for."""
    fields = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{quote(request.scope['path'])}?{urlencode([*fields, ('cursor', cursor or '')])}"


def _answer_page(request: Request, page: Page, answer_format: Format) -> Response:
    if answer_format is Format.JSON:
        return page_rows(page.reader.read_all(), {"next_cursor": page.next_cursor, "as_of": page.as_of})
    return stream_rows(page.reader, answer_format, link_next(next_url(request, page.next_cursor), page.next_cursor))


def answer_measurements(
    request: Request, runtime: Runtime, selection: Selection, paging: Paging, answer_format: Format
) -> Response:
    """Return raw rows: one JSON page, or a stream."""
    limit = _limit_page(paging, answer_format, runtime.settings.page_limit_rows)
    page = read_measurements(runtime.lake.pin(), selection, limit=limit, cursor=paging.cursor)
    return _answer_page(request, page, answer_format)


def answer_events(
    request: Request, runtime: Runtime, selection: Selection, paging: Paging, answer_format: Format
) -> Response:
    """Return events: one JSON page, or a stream."""
    limit = _limit_page(paging, answer_format, runtime.settings.page_limit_rows)
    page = read_events(runtime.lake.pin(), selection, limit=limit, cursor=paging.cursor)
    return _answer_page(request, page, answer_format)


def answer_buckets(
    runtime: Runtime, selection: Selection, fineness: Fineness, timezone: str | None, answer_format: Format
) -> Response:
    """Return aggregates per series and bucket; all of them in one answer.

    Raises:
        Refused: More buckets than a JSON page holds.
    """
    snapshot = runtime.lake.pin()
    every = fineness.every or find_every(snapshot, selection, points=fineness.points or 0)
    reader = read_buckets(
        snapshot,
        selection,
        every=every,
        aggregates=fineness.aggregates,
        timezone="UTC" if timezone is None else timezone,
    )
    if answer_format is not Format.JSON:
        return stream_rows(reader, answer_format, {"X-Every": every})
    rows = read_at_most(reader, runtime.settings.page_limit_rows)
    return page_rows(rows, {"next_cursor": None, "as_of": find_as_of(snapshot, selection), "every": every})


def read_at_most(reader: pa.RecordBatchReader, limit_rows: int) -> pa.Table:
    """Return all rows of a reader that has no pages.

    Raises:
        Refused: It has more than fit a JSON answer.
    """

    def counted() -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in reader:
            rows += batch.num_rows
            if rows > limit_rows:
                raise Refused(
                    f"the answer has more than {limit_rows} rows; ask for fewer, or for NDJSON, CSV, Arrow or Parquet",
                    code="too_many_rows",
                )
            yield batch

    return pa.Table.from_batches(list(counted()), reader.schema)


def answer_table(rows: pa.Table, answer_format: Format, as_of: object) -> Response:
    """Return a table that is in memory already, whole."""
    if answer_format is Format.JSON:
        return page_rows(rows, {"next_cursor": None, "as_of": as_of})
    return stream_rows(rows.to_reader(), answer_format)
