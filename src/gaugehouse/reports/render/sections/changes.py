"""What a revision changed, and because of what."""

from gaugehouse.measurements.period import Period
from gaugehouse.reports.render.blocks import Block, Cell, Column, Line, Note, Section, Table
from gaugehouse.reports.render.instants import format_period
from gaugehouse.reports.render.quantities import format_difference, format_quantity
from gaugehouse.reports.render.setting import Row, Setting, describe_left_out, name_cell
from gaugehouse.reports.render.texts import breakable, count_of
from gaugehouse.reports.render.traffic import as_frame


def build_changes(setting: Setting) -> Section | None:
    """Return the differences to the revision before; None in a first revision."""
    document = setting.document
    changes = as_frame(document.changes)
    if document.revision == 1 and changes.is_empty():
        return None
    replaces = f"Revision {document.revision} replaces revision {document.revision - 1}"
    if changes.is_empty():
        blocks: tuple[Block, ...] = (Line(text=f"{replaces}; no value differs."),)
        return Section(name="changes", title="Changes", blocks=blocks)
    titles = {one.name: one.title for one in document.kpis}
    shown = changes.head(setting.options.page_rows)
    table = Table(
        caption="Values that differ",
        columns=(
            Column(title="Component", weight=1.2),
            Column(title="Metric", weight=0.8),
            Column(title="KPI", weight=1),
            Column(title="Part of the period", weight=1.2),
            Column(title="Before", align="right"),
            Column(title="Now", align="right"),
            Column(title="Because of", weight=1.2),
        ),
        rows=tuple(_change_row(row, titles, setting) for row in shown.to_dicts()),
        left_out=describe_left_out(shown.height, changes.height, "differences").replace("worst", "first"),
    )
    verb = "differs" if changes.height == 1 else "differ"
    line = Line(text=f"{replaces}; {count_of(changes.height, 'value')} {verb}.")
    return Section(name="changes", title="Changes", blocks=(line, table))


def _change_row(row: Row, titles: dict[str, str], setting: Setting) -> tuple[Cell, ...]:
    start, end, zone = row["bucket_start"], row["bucket_end"], setting.zone
    part = Period(start=start, end=end, timezone=zone.key, expression="")
    return (
        name_cell(row["component"]),
        name_cell(row["metric"]),
        Cell(text=breakable(titles.get(row["kpi"]) or row["kpi"])),
        Cell(text=format_period(part, zone)),
        Cell(text=format_quantity(row["old"], row["unit"], setting.style)),
        Cell(text=format_quantity(row["new"], row["unit"], setting.style), notes=_note_difference(row, setting)),
        Cell(text=breakable(row["cause"])),
    )


def _note_difference(row: Row, setting: Setting) -> tuple[Note, ...]:
    if row["old"] is None or row["new"] is None:
        return ()
    return (Note(text=format_difference(row["new"] - row["old"], None, row["unit"], setting.style)),)
