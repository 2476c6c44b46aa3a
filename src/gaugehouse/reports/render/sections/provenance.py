"""What the numbers mean and where they come from: definitions, and everything that makes a report evidence."""

from datetime import datetime

from gaugehouse.reports.render.blocks import Block, Cell, Column, Fact, Facts, Line, Section, Table
from gaugehouse.reports.render.document import KpiDefinition, ReportDocument
from gaugehouse.reports.render.instants import format_exact, format_instant
from gaugehouse.reports.render.quantities import format_share
from gaugehouse.reports.render.setting import Setting
from gaugehouse.reports.render.texts import breakable, clean, count_of


def build_definitions(setting: Setting) -> Section | None:
    """Return what each KPI means, and how values are judged."""
    document = setting.document
    if not document.kpis:
        return None
    blocks: list[Block] = [
        Table(
            caption="Formulas",
            columns=(
                Column(title="KPI", weight=1),
                Column(title="Formula", weight=2),
                Column(title="Unit", weight=0.6),
                Column(title="Source", weight=1.4),
            ),
            rows=tuple(_definition_row(one) for one in document.kpis),
        ),
        Line(
            text="Coverage is the share of time for which a value is known; what is not known counts as neither good"
            " nor bad."
        ),
    ]
    if document.targets.num_rows:
        tolerance = format_share(document.judging.tolerance, setting.style, trim=True)
        least = format_share(document.judging.min_coverage, setting.style, trim=True)
        lights = (
            "Lights: “on target” has reached its target or lies within its limits; “borderline” misses a target by at"
            f" most {tolerance} of it, or lies that close to a limit; “off target” is beyond. “Not judged” has no"
            f" value, or is covered by data for less than {least} of the time."
        )
        blocks.append(Line(text=lights))
    return Section(name="definitions", title="Definitions", blocks=tuple(blocks))


def _definition_row(one: KpiDefinition) -> tuple[Cell, ...]:
    version = "" if one.version is None else f", version {one.version}"
    name = Cell(text=breakable(one.title), strong=True)
    source = f"{one.source}{version}"
    return name, Cell(text=breakable(one.formula)), Cell(text=breakable(one.unit)), Cell(text=breakable(source))


def build_provenance(setting: Setting) -> Section:
    """Return where the numbers come from and how to check them."""
    document, zone = setting.document, setting.zone
    period, versions = document.period, document.versions
    facts = [
        Fact(name="Report", value=_describe_report(document), exact=True),
        Fact(name="Project", value=clean(document.project)),
        Fact(name="Asked for", value=f"{format_instant(document.asked_at, zone)} by {clean(document.asked_by)}"),
        Fact(name="Computed", value=format_instant(document.computed_at, zone)),
        Fact(name="Knows what was received up to", value=_describe_as_of(document.as_of), exact=True),
        Fact(name="Period", value=f"{format_exact(period.start)} until before {format_exact(period.end)}", exact=True),
        Fact(
            name="Calendar",
            value=f"{clean(period.expression)} in {period.timezone}, {_describe_bucket(document.bucket)}",
        ),
        Fact(name="Standing", value=_describe_standing(setting)),
        Fact(name="Gaugehouse", value=clean(versions.code)),
        Fact(name="Formulas", value=clean(versions.catalogue), exact=True),
        Fact(name="Time zone rules", value=clean(versions.tzdata)),
        Fact(name="Digest (SHA-256)", value=clean(document.digest), exact=True),
    ]
    facts += [Fact(name="Note", value=clean(note)) for note in document.notes]
    if document.report_id:
        verify = f"gaugehouse report verify {clean(document.report_id)}"
        facts.append(Fact(name="To compute it again and compare the digest", value=verify, exact=True))
    return Section(name="provenance", title="Where these numbers come from", blocks=(Facts(facts=tuple(facts)),))


def _describe_report(document: ReportDocument) -> str:
    if not document.report_id:
        return "not kept: a command computed it while no server ran"
    return f"{clean(document.report_id)}, revision {document.revision}"


def _describe_as_of(as_of: datetime | None) -> str:
    return "nothing had been received" if as_of is None else format_exact(as_of)


def _describe_bucket(bucket: str | None) -> str:
    return "as one" if bucket is None else f"per {clean(bucket)}"


def _describe_standing(setting: Setting) -> str:
    standing = setting.document.standing
    parts = []
    if standing.late_n:
        parts.append(f"{count_of(standing.late_n, 'row')} of the period came later and are not in it")
    parts += [f"changed since: {clean(change)}" for change in standing.changed]
    if standing.superseded_by is not None:
        parts.append(f"replaced by revision {standing.superseded_by}")
    if parts:
        return "; ".join(parts)
    asked = f"; whether it still holds: gaugehouse report show {clean(setting.document.report_id)}"
    return f"as it was issued{asked if setting.document.report_id else ''}"
