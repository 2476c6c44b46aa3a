"""The description of the API: FastAPI's, with the one error schema and the scopes a person can ask for."""

from typing import Any

from fastapi import FastAPI

from gaugehouse import __version__
from gaugehouse.access import Scope
from gaugehouse.web.problems import Problem
from gaugehouse.web.security import CARRIED_BY, bearer_token

TITLE = "Gaugehouse"
DESCRIPTION = """\
A measurement lakehouse: measurements in, durable and counted once; rows, KPIs and reports out; the files are open Delta
Lake tables.

**Sign in** with *Authorize* (name and password), or send `X-API-Key`. A 201 means *fsynced on the server's disk*;
sending the same rows again changes nothing. Every error is `application/problem+json` of one shape (RFC 9457).
Instants are RFC 3339 in UTC; fractions of a second stand there only when they are not zero.
"""
TAGS = [
    {"name": "measurements", "description": "Write and read rows: component, metric, measured_at, value, quality"},
    {"name": "events", "description": "Things that happened at an instant, with a JSON body"},
    {"name": "live", "description": "Newest values, events and progress of reports, told as they change"},
    {"name": "components", "description": "What is measured, and what is known about it"},
    {"name": "metrics", "description": "Named quantities with unit, kind and limits"},
    {"name": "fleet", "description": "Devices: online, at risk or offline"},
    {"name": "firmware", "description": "Who runs which version, what a device is to run, releases and rollouts"},
    {"name": "kpis", "description": "Formulas over measurements: built in, and defined by managers"},
    {"name": "calendar", "description": "What a plant plans: shifts, and windows that do not count"},
    {"name": "reports", "description": "KPIs over periods, computed by jobs, kept as evidence"},
    {"name": "access", "description": "Tokens and who you are"},
    {"name": "keys", "description": "API keys of the project, for admins"},
    {"name": "members", "description": "Who is in the project, and invitations to it; for admins"},
    {"name": "audit", "description": "Who did what, from where; for admins"},
    {"name": "health", "description": "For load balancers; no credentials"},
]


class Api(FastAPI):
    """FastAPI, whose description says what is true for all operations in one place."""

    def openapi(self) -> dict[str, Any]:
        """Return the description; made once."""
        if self.openapi_schema is None:
            description = super().openapi()
            schemas = description.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            for operations in description["paths"].values():
                for operation in operations.values():
                    _name_role_scopes(operation)
                    _drop_null_from_fields(operation)
        assert self.openapi_schema is not None  # noqa: S101  # super().openapi() set it; narrows the type
        return self.openapi_schema


def _name_role_scopes(operation: dict[str, Any]) -> None:
    """Name the role scope that carries an endpoint's narrower one: a token asks for roles, keys have no scopes here."""
    for requirement in operation.get("security", []):
        for scheme, scopes in requirement.items():
            carried = {CARRIED_BY[Scope(scope)] for scope in scopes}
            requirement[scheme] = sorted(map(str, carried)) if scheme == bearer_token.scheme_name else []


def _drop_null_from_fields(operation: dict[str, Any]) -> None:
    """Describe an optional query field as what it is when it is there: a query string cannot say null."""
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"]
        options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
        if len(options) == 1:
            parameter["schema"] = {key: value for key, value in schema.items() if key != "anyOf"} | options[0]


def describe() -> dict[str, Any]:
    """Return the constructor arguments of the app that only the description uses."""
    return {
        "title": TITLE,
        "version": __version__,
        "description": DESCRIPTION,
        "openapi_tags": TAGS,
        "license_info": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }
