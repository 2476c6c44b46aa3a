"""Endpoints, one module per resource: a scope, one use case, no `try`."""

from gaugehouse.web.api import (
    access,
    component_rows,
    components,
    events,
    exclusions,
    health,
    influx,
    kpis,
    measurements,
    metrics,
    report_deliveries,
    report_templates,
    reports,
    schedules,
    scraping,
    shift_calendar,
)

ROUTERS = (
    measurements.router,
    events.router,
    components.router,
    component_rows.router,
    metrics.router,
    kpis.router,
    shift_calendar.router,
    exclusions.router,
    reports.router,
    report_templates.router,
    schedules.router,
    report_deliveries.router,
    access.router,
    influx.router,
    health.router,
    scraping.router,
)
