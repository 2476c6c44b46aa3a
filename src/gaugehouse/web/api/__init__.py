"""Endpoints, one module per resource: a scope, one use case, no `try`."""

from gaugehouse.web.api import access, health

ROUTERS = (health.router, access.router)
