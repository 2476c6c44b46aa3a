"""Endpoints, one module per resource: a scope, one use case, no `try`."""

from gaugehouse.web.api import (
    access,
    component_rows,
    components,
    events,
    health,
    influx,
    kpis,
    measurements,
    metrics,
    reports,
    scraping,
)

ROUTERS = (
    measurements.router,
    events.router,
    components.router,
    component_rows.router,
    metrics.router,
    kpis.router,
    reports.router,
    access.router,
    influx.router,
    health.router,
    scraping.router,
)
