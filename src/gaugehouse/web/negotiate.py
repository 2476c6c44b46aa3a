"""Which form an answer takes: `?format=` first, else the `Accept` header with its q-values (RFC 9110, 12.5.1).

Rows leave in the forms they come in by, and are asked for by the same media types.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Query

from gaugehouse.errors import NotAcceptable
from gaugehouse.ingest import FORMATS as FORMATS
from gaugehouse.ingest import Format as Format

Answer = TypeVar("Answer")

MEDIA_TYPES: dict[Format, str] = {
    Format.JSON: "application/json",
    Format.NDJSON: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8",
    Format.ARROW: "application/vnd.apache.arrow.stream",
    Format.PARQUET: "application/vnd.apache.parquet",
}


def _parse_range(part: str) -> tuple[str, float]:
    """Return the media range and its weight; a weight that is none counts as a refusal."""
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, text = parameter.partition("=")
        if name.strip() == "q":
            digits = text.strip()
            is_weight = digits.replace(".", "", 1).isdecimal() and digits.isascii()
            weight = min(float(digits), 1.0) if is_weight else 0.0
    return media_range, weight


def _weigh(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """Return the weight of the most specific range that covers `media_type`; 0 when none does."""
    main = media_type.partition("/")[0]
    for wanted in (media_type, f"{main}/*", "*/*"):
        weights = [weight for media_range, weight in ranges if media_range == wanted]
        if weights:
            return max(weights)
    return 0.0


def choose_format(accept: str | None) -> Format:
    """Return the best format for an Accept header; at equal weight JSON, NDJSON, CSV, Arrow, Parquet in this order.

    Raises:
        NotAcceptable: nothing that is written here is wanted.
    """
    return choose(accept, FORMATS, available=MEDIA_TYPES.values())


def choose(accept: str | None, answers: Mapping[str, Answer], *, available: Iterable[str]) -> Answer:
    """Return the best answer for an Accept header; at equal weight, and without a header, the first.

    Args:
        accept: The header.
        answers: By media type, without parameters.
        available: What the refusal names.

    Raises:
        NotAcceptable: none of them is wanted.
    """
    if accept is None or not accept.strip():
        return next(iter(answers.values()))
    ranges = [_parse_range(part) for part in accept.split(",") if part.strip()]
    weighed = [(_weigh(media_type, ranges), answer) for media_type, answer in answers.items()]
    best_weight, best = max(weighed, key=lambda pair: pair[0])
    if best_weight <= 0.0:
        named = list(available)
        raise NotAcceptable(
            f"none of the wanted media types is written; choose one of {', '.join(named)}", fields={"available": named}
        )
    return best


async def negotiate(
    answer_format: Annotated[
        Format | None, Query(alias="format", description="Form of the answer; wins over the Accept header")
    ] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Format:
    """Return the form this request asks for."""
    return answer_format or choose_format(accept)


AnswerFormat = Annotated[Format, Depends(negotiate)]
