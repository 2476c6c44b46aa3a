"""Pages of things that live in the database: fields that all lists share."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from gaugehouse.inventory import Page

Item = TypeVar("Item")

SearchText = Annotated[str | None, Query(description="Part of name or title, in any case")]
ListLimit = Annotated[int, Query(ge=1, le=1000, description="Items per page")]
ListCursor = Annotated[str | None, Query(description="`next_cursor` of the page before")]


def one_page(items: Sequence[Item]) -> Page[Item]:
    """Return a whole list as its only page."""
    return Page(items=tuple(items), next_cursor=None, total=len(items))
