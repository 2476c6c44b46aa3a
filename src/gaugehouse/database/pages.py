"""Pages by keyset: the next page starts after the last row that was seen, however many rows came or went before it."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from gaugehouse.errors import Refused

Item = TypeVar("Item")
Row = TypeVar("Row")

MAX_PAGE_ITEMS = 1000
MAX_CURSOR_CHARACTERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item]):
    """Some items of a list, the cursor of the next page (None: this was the last) and how many the list has."""

    items: tuple[Item, ...]
    next_cursor: str | None
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How a list is sorted: by a column, ties by id; `text` is what the caller asked for, such as `-name`."""

    text: str
    column: InstrumentedAttribute[Any]
    id_column: InstrumentedAttribute[str]
    is_descending: bool


def read_order(
    text: str, columns: Mapping[str, InstrumentedAttribute[Any]], id_column: InstrumentedAttribute[str]
) -> Order:
    """Return the order that `name` or `-name` asks for; Refused names the possible ones."""
    column = columns.get(text.removeprefix("-"))
    if column is None:
        raise Refused(
            f"cannot sort by {text[:64]!r}; use one of {', '.join(columns)}, with - before it to reverse",
            code="sort_refused",
        )
    return Order(text=text, column=column, id_column=id_column, is_descending=text.startswith("-"))


def load_page(
    session: Session, statement: Select[Row], order: Order, *, limit: int, cursor: str | None
) -> tuple[list[Row], str | None, int]:
    """Return the rows of one page, the next cursor and the size of the whole list.

    Args:
        session: An open session.
        statement: Selects the whole list, unsorted.
        order: From `read_order`.
        limit: 1 to 1000.
        cursor: From the page before; None for the first page.
    """
    if not 1 <= limit <= MAX_PAGE_ITEMS:
        raise Refused(f"limit must be 1 to {MAX_PAGE_ITEMS}, not {limit}", code="limit_refused")
    total = session.scalar(select(func.count()).select_from(statement.order_by(None).subquery())) or 0
    if cursor is not None:
        statement = statement.where(_after(order, *_decode_cursor(cursor, order)))
    columns = (order.column, order.id_column)
    statement = statement.order_by(*(column.desc() if order.is_descending else column.asc() for column in columns))
    rows = list(session.scalars(statement.limit(limit + 1)))
    if len(rows) <= limit:
        return rows, None, total
    return rows[:limit], _encode_cursor(rows[limit - 1], order), total


def _after(order: Order, value: object, row_id: str) -> ColumnElement[bool]:
    column, id_column = order.column, order.id_column
    if order.is_descending:
        return and_(column <= value, or_(column < value, id_column < row_id))
    return and_(column >= value, or_(column > value, id_column > row_id))


def _encode_cursor(row: object, order: Order) -> str:
    value = getattr(row, order.column.key)
    shown = value.isoformat() if isinstance(value, datetime) else value
    text = json.dumps([order.text, shown, getattr(row, order.id_column.key)])
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")


def _decode_cursor(cursor: str, order: Order) -> tuple[object, str]:
    try:
        if len(cursor) > MAX_CURSOR_CHARACTERS:
            raise _bad_cursor()
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        sorted_by, value, row_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if order.column.type.python_type is datetime:
            value = datetime.fromisoformat(value)
            if value.tzinfo is None:
                raise _bad_cursor()
            value = value.astimezone(UTC)  # at both ends of the calendar this overflows
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as exc:
        raise _bad_cursor() from exc
    if sorted_by != order.text or not isinstance(value, str | datetime) or not isinstance(row_id, str):
        raise _bad_cursor()
    if isinstance(value, str) and not _is_bindable(value + row_id):
        raise _bad_cursor()
    return value, row_id


def _is_bindable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _bad_cursor() -> Refused:
    return Refused("the cursor is not one of this list in this order; start again without it", code="cursor_refused")
