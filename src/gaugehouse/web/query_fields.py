"""A query string says only what the endpoint understands, and each single value once: typos and repeats are refused."""

from collections import Counter
from typing import get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from gaugehouse.errors import Refused


def _is_list(annotation: object) -> bool:
    options = getattr(annotation, "__args__", ())
    return get_origin(annotation) is list or any(get_origin(option) is list for option in options)


def find_fields(dependant: Dependant) -> dict[str, bool]:
    """Return the name of each query field of an endpoint and its dependencies, and whether it may be repeated."""
    fields = {field.alias: _is_list(field.field_info.annotation) for field in dependant.query_params}
    for nested in dependant.dependencies:
        fields |= find_fields(nested)
    return fields


async def refuse_stray_fields(request: Request) -> None:
    """Refuse unknown query fields and repeated single-valued ones (ASVS 15.3.7), before the endpoint runs.

    Raises:
        Refused: With the first 20 of them.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = find_fields(route.dependant)
    given = Counter(name for name, _ in request.query_params.multi_items())
    errors = [
        {"field": f"query.{name}", "reason": "is not a field of this address", "code": "unknown_field"}
        for name in given
        if name not in known
    ] + [
        {"field": f"query.{name}", "reason": "may be given once", "code": "repeated_field"}
        for name, times in given.items()
        if times > 1 and not known.get(name, True)
    ]
    if errors:
        raise Refused(
            f"{errors[0]['field']} {errors[0]['reason']}; the fields are {', '.join(sorted(known)) or 'none'}",
            code="request_refused",
            fields={"errors": errors},
        )
