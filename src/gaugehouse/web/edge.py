"""What comes over the edge as JSON bodies and query texts: read into types that cannot be wrong."""

import re
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_ITEMS = 1000  # of one bulk request: one database transaction
MAX_TEXT_CHARS = 4096  # no single text of an inventory or a report question is longer
BEGINNING_OF_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
MAX_DEPTH = 32  # pydantic cannot write what is nested deeper than 255: once stored, every list with it would be a 500


def _find_problem(body: object) -> str | None:
    """Return why a JSON value cannot be taken, or None. A loop: recursion ends in a 500 for what is nested enough."""
    waiting = [(body, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            if "\0" in value:
                return "a text holds a NUL character"
            if any("\ud800" <= c <= "\udfff" for c in value):
                return "a text holds half of a surrogate pair"
        elif isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                return f"objects and arrays are nested more than {MAX_DEPTH} deep"
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            waiting.extend((part, depth + 1) for part in parts)
    return None


class EdgeBody(BaseModel):
    """A JSON body: nothing unknown, no NaN, not deep, no text that UTF-8 or a database cannot hold."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=MAX_TEXT_CHARS, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_bad_values(cls, value: object) -> object:
        problem = _find_problem(value)
        if problem is not None:
            raise PydanticCustomError("value_refused", "{problem}", {"problem": problem})
        return value


Body = TypeVar("Body", bound=EdgeBody)


def _require_text(value: object) -> object:
    if isinstance(value, str):
        return value
    raise PydanticCustomError("instant_refused", "an instant is a text, as 2026-03-16T06:00:00Z")


def _in_utc(instant: datetime) -> datetime:
    """Return an instant as answers and the database say it."""
    try:
        return instant.astimezone(UTC)
    except OverflowError as exc:
        raise PydanticCustomError("instant_refused", "an instant is in the years 1 to 9999, in UTC as well") from exc


# Strict types take no text for an instant, lax ones take numbers: nobody knows of what.
Instant = Annotated[
    AwareDatetime,
    Field(strict=False),
    BeforeValidator(_require_text),
    AfterValidator(_in_utc),
]


def _require_date(value: object) -> object:
    """Refuse what only says a number: pydantic takes `0.5`, and every other number, for seconds since 1970."""
    if isinstance(value, str) and BEGINNING_OF_DATE.match(value) is None:
        raise PydanticCustomError("instant_refused", "an instant is written like 2026-11-20T10:00:00Z")
    return value


QueryInstant = Annotated[AwareDatetime, BeforeValidator(_require_date)]


def _split_names(values: object) -> object:
    """Split one value at its commas; repeated values are taken as they are, so that names may hold commas."""
    if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str):
        return [name for name in values[0].split(",") if name]
    return values


NameList = Annotated[
    list[str] | None,
    Query(description="Names or ids: `a,b`, or repeated when a name holds a comma"),
    BeforeValidator(_split_names),
]


def _one_or_many(value: object) -> str:
    return "many" if isinstance(value, list) else "one"


OneOrMany = Annotated[
    Annotated[Body, Tag("one")] | Annotated[list[Body], Field(min_length=1, max_length=MAX_ITEMS), Tag("many")],
    Discriminator(_one_or_many),
]


def as_list(body: Body | list[Body]) -> list[Body]:
    """Return one item as a list of one."""
    return body if isinstance(body, list) else [body]
