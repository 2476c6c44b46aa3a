"""Endpoints, one module per resource: a scope, one use case, no `try`."""

from gaugehouse.web.api import (
    access,
    component_rows,
    components,
    events,
    health,
    influx,
    measurements,
    metrics,
    report_deliveries,
    report_templates,
    reports,
    schedules,
    scraping,
)

ROUTERS = (
    measurements.router,
    events.router,
    components.router,
    component_rows.router,
    metrics.router,
    reports.router,
    report_templates.router,
    schedules.router,
    report_deliveries.router,
    access.router,
    influx.router,
    health.router,
    scraping.router,
)
