"""`gaugehouse import`: files of others, through the running server or as the owner of the lake."""

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from gaugehouse.cli.owning import Writer, open_writer
from gaugehouse.cli.progress import DataTable, Report, out, progress_bar
from gaugehouse.config import Settings
from gaugehouse.errors import Refused
from gaugehouse.ingest import ColumnMapping, FileSummary, Limits, count_rows_hint, read_file
from gaugehouse.lake import Delivery

TIME_PARTS = ("year", "month", "day", "hour", "minute", "second")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the command line says about the files."""

    data_dir: Path
    project: str
    component: str | None
    component_column: str | None
    metric_column: str | None
    value_column: str | None
    quality_column: str | None
    metric_columns: tuple[str, ...] | None
    time_column: str | None
    time_format: str | None
    timezone: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of the measurements of one file."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0


def import_measurements(files: list[Path], options: ImportOptions) -> None:
    """Import every file and print one line for each.

    Raises:
        GaugehouseError: a file cannot be read or understood; what was imported before stays, a repetition is harmless.
    """
    settings = Settings(data_dir=options.data_dir)
    mapping = column_mapping(options)
    table = DataTable()
    table.add_column("file")
    for name in ("rows", "measurements", "accepted", "duplicates", "conflicts", "empty cells"):
        table.add_column(name, justify="right")
    notes: list[str] = []
    with progress_bar() as report, open_writer(settings, options.project, report) as writer:
        for path in files:
            summary = FileSummary()
            imported = _import_file(path, mapping, writer, options.project, summary, report)
            table.add(
                path.name,
                *(f"{count:,}" for count in (summary.rows_read, summary.measurements, imported.accepted)),
                *(f"{count:,}" for count in (imported.duplicates, imported.conflicts, summary.null_cells)),
            )
            notes += _notes(path, summary)
    out.print(table)
    for note in notes:
        out.print(note, style="dim")


def column_mapping(options: ImportOptions) -> ColumnMapping:
    """Return the mapping of the command line; `--time-column` is a column, or parts such as `year=Y,month=M,day=D`."""
    is_parts = options.time_column is not None and "=" in options.time_column
    return ColumnMapping(
        component=options.component,
        component_column=options.component_column,
        time_column=None if is_parts else options.time_column,
        time_format=options.time_format,
        time_parts=_time_parts(options.time_column) if is_parts and options.time_column else None,
        timezone=options.timezone,
        metric_column=options.metric_column,
        value_column=options.value_column,
        quality_column=options.quality_column,
        metric_columns=options.metric_columns,
    )


def _time_parts(text: str) -> dict[str, str]:
    parts = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    unknown = sorted(set(parts) - set(TIME_PARTS))
    if unknown:
        raise Refused(f"--time-column has no part {unknown[0]!r}; the parts are {', '.join(TIME_PARTS)}")
    return parts


def _import_file(
    path: Path, mapping: ColumnMapping, writer: Writer, project: str, summary: FileSummary, report: Report
) -> Imported:
    imported = Imported()
    total = count_rows_hint(path)
    limits = Limits.from_settings(Settings())
    for batch in read_file(path, mapping, limits=limits, summary=summary):
        _register(batch, writer, project)
        outcome = writer.lake.append(project, Delivery(batches={"measurements": batch}))
        imported = replace(
            imported,
            accepted=imported.accepted + outcome.accepted,
            duplicates=imported.duplicates + outcome.duplicates,
            conflicts=imported.conflicts + outcome.conflicts.num_rows,
        )
        report(path.name, summary.rows_read, max(total or 0, summary.rows_read))
    return imported


def _register(batch: pa.Table, writer: Writer, project: str) -> None:
    components = pc.unique(batch.column("component").cast(pa.string())).to_pylist()
    metrics = pc.unique(batch.column("metric").cast(pa.string())).to_pylist()
    unknown = writer.registry.find_unknown(project, components, metrics)
    if any(unknown):
        writer.registry.register(project, *unknown)


def _notes(path: Path, summary: FileSummary) -> list[str]:
    notes = []
    if summary.first_at is not None and summary.last_at is not None:
        first, last = (f"{at:%Y-%m-%d %H:%M:%S}" for at in (summary.first_at, summary.last_at))
        notes.append(f"{path.name}: {summary.form} form, {first} to {last} UTC")
    notes += [f"{path.name}: column {name} skipped: {reason}" for name, reason in summary.skipped_columns.items()]
    if summary.ambiguous_times:
        notes.append(f"{path.name}: {summary.ambiguous_times:,} wall-clock times occur twice; the first was taken")
    if summary.nonexistent_times:
        notes.append(
            f"{path.name}: {summary.nonexistent_times:,} wall-clock times do not exist; read as before the gap"
        )
    return notes
