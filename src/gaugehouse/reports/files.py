"""The files of a report: which one is wanted, what it is called, where it is kept, how it gets there."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from gaugehouse.config import Layout
from gaugehouse.errors import StorageFull
from gaugehouse.reports.render.formats import DEFAULT_OPTIONS, RenderOptions, ReportFormat, normalise
from gaugehouse.reports.result import publish_result

FOLDER = "files"  # beside the results: these can be made again, those cannot
OPTIONS_DIGITS = 12
CHOSEN_LIMIT = 20  # files of one revision with options of a reader's choice; the oldest makes room for the next


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFile:
    """One file of a revision.

    Args:
        report_id: rep_...
        revision: Of it.
        report_format: How it is written.
        options: Of these, only what the format looks at.
    """

    report_id: str
    revision: int
    report_format: ReportFormat
    options: RenderOptions = DEFAULT_OPTIONS

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", normalise(self.report_format, self.options))

    @property
    def chosen(self) -> dict[str, Any]:
        """Return the options that are not the default ones."""
        defaults = asdict(DEFAULT_OPTIONS)
        return {name: value for name, value in asdict(self.options).items() if value != defaults[name]}

    def find_path(self, layout: Layout) -> Path:
        """Return where it is kept."""
        suffix = f"-{_digest(self.chosen)}" if self.chosen else ""
        name = f"r{self.revision}{suffix}.{self.report_format.value}"
        return layout.reports_dir / self.report_id / FOLDER / name


def _digest(chosen: Mapping[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(chosen, order="sorted")).hexdigest()[:OPTIONS_DIGITS]


def encode_wanted(wanted: WantedFile) -> dict[str, Any]:
    """Return revision, format and options as JSON-able values."""
    return {"revision": wanted.revision, "format": wanted.report_format.value, "options": wanted.chosen}


def decode_wanted(report_id: str, encoded: Mapping[str, Any]) -> WantedFile:
    """Return what `encode_wanted` wrote."""
    return WantedFile(
        report_id=report_id,
        revision=int(encoded["revision"]),
        report_format=ReportFormat(encoded["format"]),
        options=RenderOptions(**encoded["options"]),
    )


def write_file(content: bytes, path: Path, *, writer: str, attempt: int) -> Path:
    """Write a file beside its place and return the durable one; `publish_file` puts it there.

    Args:
        content: Of it.
        path: Its place, in the folder of a report that has a result.
        writer: Name for what is unfinished, unlike that of all who may write the same file just now.
        attempt: What earlier ones of this writer left is removed.

    Raises:
        StorageFull: The disk refused.
    """
    unfinished = _unfinished(path, writer, attempt)
    try:
        path.parent.mkdir(exist_ok=True)
        for earlier in range(attempt):
            _unfinished(path, writer, earlier).unlink(missing_ok=True)
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        unfinished.unlink(missing_ok=True)
        raise StorageFull("the file of the report could not be written to the disk") from exc
    return unfinished


def _unfinished(path: Path, writer: str, attempt: int) -> Path:
    return path.with_name(f"{path.name}.{writer}.{attempt}.tmp")


def publish_file(unfinished: Path, path: Path) -> None:
    """Put a written file in its place; those with options that were asked for long ago make room.

    Raises:
        StorageFull: The disk refused.
    """
    publish_result(unfinished, path)
    revision = path.name.partition(".")[0].partition("-")[0]
    chosen = sorted((one for one in path.parent.glob(f"{revision}-*") if one.suffix != ".tmp"), key=_age)
    for old in chosen[: max(0, len(chosen) - CHOSEN_LIMIT)]:
        old.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another one has just made room
        return 0.0
