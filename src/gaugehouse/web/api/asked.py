"""What readers ask of rows: which components, which instants, how fine, which page; fields that endpoints share."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, get_args

from fastapi import Depends, Query

from gaugehouse.access import Caller
from gaugehouse.errors import Refused
from gaugehouse.inventory.checks import read_labels
from gaugehouse.measurements.period import parse_instant
from gaugehouse.query import find_known_names, resolve_components
from gaugehouse.query.buckets import Aggregate
from gaugehouse.runtime import Runtime
from gaugehouse.web.edge import NameList

DEFAULT_PAGE_ROWS = 1000  # a page that a person can still look at; up to the setting page_limit_rows on request
MAX_STREAM_ROWS = 10**12  # no lake has more; far larger numbers do not fit the engine's
InstantText = Annotated[
    str | None,
    Query(examples=["2026-11-20T10:00:00Z"], description="RFC 3339; without an offset it is read in `timezone`"),
]
LabelTexts = Annotated[list[str] | None, Query(description="`key:value`; repeat it to ask for several at once")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which components: by name or id, type and labels; all that is given must fit."""

    names: tuple[str, ...] | None
    type: str | None
    labels: dict[str, str]


async def read_choice(component: NameList = None, type: str | None = None, label: LabelTexts = None) -> Choice:  # noqa: A002  # the word of the API
    """Return the components that a question names."""
    return Choice(names=None if component is None else tuple(component), type=type, labels=read_labels(label))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which instants of measurement, and which state of knowledge."""

    start: datetime | None
    end: datetime | None
    as_of: datetime | None
    timezone: str | None


async def read_span(
    start: InstantText = None,
    end: InstantText = None,
    as_of: Annotated[InstantText, Query(description="Only rows received up to this instant")] = None,
    timezone: Annotated[str | None, Query(description="IANA zone of naive instants and of calendar buckets")] = None,
) -> Span:
    """Return the half-open time range [start, end) of a question."""
    instants = [None if text is None else parse_instant(text, timezone=timezone) for text in (start, end, as_of)]
    return Span(start=instants[0], end=instants[1], as_of=instants[2], timezone=timezone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """Which page of raw rows."""

    limit: int | None
    cursor: str | None


async def read_paging(
    limit: Annotated[
        int | None,
        Query(
            ge=1,
            le=MAX_STREAM_ROWS,
            description=f"Most rows; JSON pages hold {DEFAULT_PAGE_ROWS} without it, other formats all rows",
        ),
    ] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
) -> Paging:
    """Return the page that is asked for."""
    return Paging(limit=limit, cursor=cursor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fineness:
    """Raw rows, or buckets: of a given length, or as fine as a plot can show."""

    every: str | None
    points: int | None
    aggregates: tuple[str, ...]

    @property
    def wants_buckets(self) -> bool:
        return self.every is not None or self.points is not None


async def read_fineness(
    every: Annotated[
        str | None,
        Query(examples=["1h"], description="Bucket: hour, day, week, month, quarter, year, 15m, 1h, PT15M, P1D ..."),
    ] = None,
    points: Annotated[
        int | None, Query(description="Pick the finest bucket that gives at most this many per series")
    ] = None,
    aggregate: Annotated[
        NameList, Query(description=f"Some of {', '.join(get_args(Aggregate))}; mean without it")
    ] = None,
) -> Fineness:
    """Return how fine the answer is to be.

    Raises:
        Refused: Two finenesses, or an aggregate of raw rows.
    """
    if every is not None and points is not None:
        raise Refused("give `every` or `points`, not both", code="bucket_refused")
    if aggregate is not None and every is None and points is None:
        raise Refused("`aggregate` needs buckets: give `every` or `points` as well", code="bucket_refused")
    every = None if every is None else every.strip()  # it goes into a header, where a line break ends the answer
    return Fineness(every=every, points=points, aggregates=tuple(aggregate or ("mean",)))


AskedChoice = Annotated[Choice, Depends(read_choice)]
AskedSpan = Annotated[Span, Depends(read_span)]
AskedPaging = Annotated[Paging, Depends(read_paging)]
AskedFineness = Annotated[Fineness, Depends(read_fineness)]


def choose_components(runtime: Runtime, caller: Caller, choice: Choice) -> tuple[str, ...] | None:
    """Return the names a question is about, None for all; a key of one component sees that one only.

    Raises:
        NotFound: A named component does not exist, or is not the caller's.
    """
    if choice.names is not None and choice.type is None and not choice.labels:
        known = find_known_names(runtime.registry, caller.project, choice.names, visible=caller.component)
        if known is not None:
            return known
    with runtime.database.reading() as session:
        return resolve_components(
            session,
            caller.project_id,
            names=choice.names,
            type=choice.type,
            labels=choice.labels,
            visible=caller.component,
        )
