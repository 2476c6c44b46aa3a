"""`gaugehouse component enrol`: a list of devices in, a list of their keys out; on the database, server or not."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TextIO

from gaugehouse.access import DeviceKey
from gaugehouse.cli.progress import out, progress_bar
from gaugehouse.config import Settings
from gaugehouse.database import Database
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.fleet.enrolment import Enrolled, enrol
from gaugehouse.installation import local_trail, open_database
from gaugehouse.inventory import NewComponent, get_project
from gaugehouse.measurements.names import find_name_problem

# One transaction: about a second in which nobody else can write. Fewer devices each are slower in sum, for ids and
# hashes are random: each transaction writes nearly all pages of their indexes anew.
DEVICES_PER_TRANSACTION = 10_000
COLUMNS = ("component", "type", "title")  # of the list; the first one is needed


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolOptions:
    """What the command line says.

    Args:
        data_dir: Of the installation.
        project: Slug.
        devices: The list: CSV with a column `component`, and `type` and `title` if wanted.
        keys: The file that is made, with `component` and `key`; for its owner's eyes only.
        scopes: Of all keys; none given are those of a device.
        expires_at: When all of them end.
    """

    data_dir: Path
    project: str
    devices: Path
    keys: Path
    scopes: Sequence[str]
    expires_at: datetime | None


def enrol_devices(options: EnrolOptions) -> None:
    """Make every device of a list a component with a key; write the keys, and say how many.

    A portion's keys are on the disk before they count: after an interruption none is lost, and what was not done is
    done by the same command with another file for keys.

    Raises:
        Refused: the list cannot be understood; nothing was done.
        AlreadyExists: the file for keys is there already: it may hold keys that nobody could show again.
    """
    total = _check(options.devices)
    database = open_database(Settings(data_dir=options.data_dir))
    created, keyed, made = 0, 0, 0
    try:
        with progress_bar() as report, _open_keys(options.keys) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("component", "key"))
            devices = read_devices(options.devices)
            while portion := list(islice(devices, DEVICES_PER_TRANSACTION)):
                done = _enrol_portion(database, options, portion, file)
                created, keyed, made = created + done.created, keyed + done.keyed, made + len(done.keys)
                report("devices", made + keyed, total)
    finally:
        database.dispose()
    out.print(f"{made:,} devices got a key, {created:,} of them are new components; keys are in {options.keys}")
    if keyed:
        out.print(f"{keyed:,} hold a key already and got none: gaugehouse key replace", style="dim")


def _enrol_portion(database: Database, options: EnrolOptions, portion: list[NewComponent], file: TextIO) -> Enrolled:
    with database.transaction() as session:
        project_id = get_project(session, options.project).id
        done = enrol(session, project_id, portion, scopes=options.scopes, expires_at=options.expires_at)
        details = {
            "keys": len(done.keys),
            "created": done.created,
            "first": portion[0].name,
            "last": portion[-1].name,
            "scopes": list(options.scopes),
            "expires_at": None if options.expires_at is None else options.expires_at.isoformat(),
        }
        trail = local_trail(Settings(data_dir=options.data_dir), project_id)
        trail.tell(session, "device.enrol", details=details)
        _write_keys(file, done.keys)
    return done


def _write_keys(file: TextIO, keys: Sequence[DeviceKey]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows((one.component, one.key) for one in keys)
    file.flush()
    os.fsync(file.fileno())


def _open_keys(path: Path) -> TextIO:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileExistsError as exc:
        raise AlreadyExists(f"{path} exists; keys are shown once, so none is overwritten", code="file_exists") from exc
    except OSError as exc:
        raise Refused(f"{path} cannot be written: {exc.strerror}", code="file_refused") from exc
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")


def _check(path: Path) -> int:
    """Return how many devices a list has, all of them good."""
    names: set[str] = set()
    for line, device in enumerate(read_devices(path), start=2):
        problem = find_name_problem(device.name)
        if device.name in names:
            problem = "is there twice"
        if problem is not None:
            raise Refused(f"line {line} of {path}: component {device.name!r} {problem}", code="list_refused")
        names.add(device.name)
    if not names:
        raise Refused(f"{path} names no device", code="list_refused")
    return len(names)


def read_devices(path: Path) -> Iterator[NewComponent]:
    """Yield the devices of a list one by one.

    Raises:
        NotFound: there is no such file.
        Refused: it is no CSV with a header of `component`, and `type` and `title` if wanted.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            header = tuple(rows.fieldnames or ())
            if COLUMNS[0] not in header or not set(header) <= set(COLUMNS) or len(set(header)) < len(header):
                raise Refused(
                    f"{path} must begin with a line that names its columns: component, and type and title if wanted",
                    code="list_refused",
                )
            for row in rows:
                if None in row or None in row.values():
                    raise Refused(f"line {rows.line_num} of {path} has not {len(header)} cells", code="list_refused")
                yield NewComponent(name=row["component"], type=row.get("type", ""), title=row.get("title", ""))
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file {path}", code="file_not_found") from exc
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise Refused(f"{path} cannot be read as CSV: {exc}", code="list_refused") from exc
