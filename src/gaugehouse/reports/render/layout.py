"""From a document to its page: which sections, in which order, and what stands above and below them."""

from gaugehouse.reports.render.blocks import Badge, Page, Pictures
from gaugehouse.reports.render.document import ReportDocument
from gaugehouse.reports.render.formats import RenderOptions
from gaugehouse.reports.render.instants import describe_period, format_instant, format_period
from gaugehouse.reports.render.sections.changes import build_changes
from gaugehouse.reports.render.sections.downtime import build_downtime
from gaugehouse.reports.render.sections.groups import build_groups
from gaugehouse.reports.render.sections.kpis import build_kpis
from gaugehouse.reports.render.sections.missing import build_missing
from gaugehouse.reports.render.sections.provenance import build_definitions, build_provenance
from gaugehouse.reports.render.sections.series import build_series
from gaugehouse.reports.render.sections.summary import build_summary
from gaugehouse.reports.render.setting import Setting, make_setting
from gaugehouse.reports.render.texts import clean, count_of

DIGEST_SHOWN = 16  # characters; enough to recognise it, the whole is in the last section


def lay_out(document: ReportDocument, options: RenderOptions) -> tuple[Page, Pictures]:
    """Return the page that HTML and PDF show, and its charts."""
    setting = make_setting(document, options)
    sections = (
        build_summary(setting),
        build_changes(setting),
        build_kpis(setting),
        build_groups(setting),
        build_series(setting),
        build_downtime(setting),
        build_missing(setting),
        build_definitions(setting),
        build_provenance(setting),
    )
    page = Page(
        title=clean(document.title) or "Report",
        project=clean(document.project),
        period=format_period(document.period, setting.zone),
        bounds=describe_period(document.period, setting.zone),
        asked=f"asked for by {clean(document.asked_by)}, computed {format_instant(document.computed_at, setting.zone)}",
        badges=tuple(_find_badges(setting)),
        sections=tuple(section for section in sections if section is not None),
        footer=_name_in_footer(document),
        paper=options.paper,
    )
    return page, setting.pictures


def _name_in_footer(document: ReportDocument) -> str:
    kept = f"{clean(document.report_id)} · revision {document.revision}" if document.report_id else "not kept"
    return f"{kept} · {clean(document.digest)[:DIGEST_SHOWN]}…"


def _find_badges(setting: Setting) -> list[Badge]:
    document, standing = setting.document, setting.document.standing
    badges = [Badge(text=f"Revision {document.revision}")] if document.revision > 1 else []
    if document.is_running:
        until = format_instant(document.asked_at, setting.zone)
        badges.append(Badge(text=f"Preliminary: the period still runs, counted until {until}", tone="warning"))
    if standing.superseded_by is not None:
        badges.append(Badge(text=f"Replaced by revision {standing.superseded_by}", tone="warning"))
    elif standing.is_stale:
        late = f"{count_of(standing.late_n, 'row')} came later" if standing.late_n else ""
        changed = f"{count_of(len(standing.changed), 'setting')} changed" if standing.changed else ""
        reasons = " and ".join(reason for reason in (late, changed) if reason)
        badges.append(Badge(text=f"Stale: {reasons} since it was computed", tone="warning"))
    if all(badge.tone == "plain" for badge in badges):
        badges.append(Badge(text="Period complete"))
    return [*badges, *(Badge(text=clean(note), tone="warning") for note in document.notes)]
