"""What comes over the edge as JSON bodies and query texts: read into types that cannot be wrong."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import (
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


def _find_bad_text(value: object) -> str | None:
    match value:
        case str():
            if "\0" in value:
                return "a text holds a NUL character"
            return "a text holds half of a surrogate pair" if any("\ud800" <= c <= "\udfff" for c in value) else None
        case dict():
            parts: Sequence[object] = [*value.keys(), *value.values()]
        case list():
            parts = value
        case _:
            return None
    return next((problem for problem in map(_find_bad_text, parts) if problem is not None), None)


class EdgeBody(BaseModel):
    """A JSON body: nothing unknown, no NaN, no text that UTF-8 or a database cannot hold."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=MAX_TEXT_CHARS, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_bad_text(cls, value: object) -> object:
        problem = _find_bad_text(value)
        if problem is not None:
            raise PydanticCustomError("text_refused", "{problem}", {"problem": problem})
        return value


Body = TypeVar("Body", bound=EdgeBody)


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
