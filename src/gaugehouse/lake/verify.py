"""`gaugehouse lake verify`: proof that a lake is what it promises, or the names of what is not.

It runs in the process of whoever asks, beside a running owner or alone: a damaged file must not end a server, and the
bytes of a file are compared with its sha256 before any library opens it. `verify_lake` changes nothing.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import crc32c
import numpy as np
import pyarrow as pa

from gaugehouse.config import Layout
from gaugehouse.lake.answers import ANSWERS, find_damage
from gaugehouse.lake.backup import RESTORING, is_half_restored
from gaugehouse.lake.contents import Contents, find_keys, read_contents, read_written, repeated_hashes
from gaugehouse.lake.delta import month_name, month_numbers_of
from gaugehouse.lake.deltalog import Commit, ListedFile
from gaugehouse.lake.findings import Finding, Verdict
from gaugehouse.lake.indexfile import CHECKSUM_BYTES, index_path
from gaugehouse.lake.keyhash import UInt64s
from gaugehouse.lake.manifest import CommittedFile, values_manifest_path
from gaugehouse.lake.picture import AskLive, Picture, take_picture
from gaugehouse.lake.plain import PLAIN, write_sign
from gaugehouse.lake.quarantine import Quarantine, is_broken, is_intact, quarantine_path, read_quarantined_paths
from gaugehouse.lake.rows import TABLES, VALUES, TableSpec
from gaugehouse.lake.surroundings import check_leftovers, check_mirror
from gaugehouse.lake.valuecheck import check_values, take_value_picture
from gaugehouse.measurements.selection import from_epoch_us

Progress = Callable[[str, int, int], None]
KEYS_AT_ONCE = 33_554_432  # 8 bytes each, twice while they are sorted
MOMENTS = 10  # a comparison with the owner's memory needs one without a flush
BROKEN = frozenset({"file_missing", "file_damaged", "file_unreadable"})  # what quarantine is for
READ_ERRORS = (OSError, pa.ArrowException)


@dataclass(slots=True, kw_only=True)
class _Examination:
    """One verification under way."""

    layout: Layout
    ask_live: AskLive | None
    keep_s: float
    on_progress: Progress
    picture: Picture
    verdict: Verdict
    quarantined: frozenset[str]
    done: dict[str, int] = field(default_factory=dict)

    def find(self, code: str, what: str, *, table: str = "", file: ListedFile | None = None, name: str = "") -> None:
        """Note damage."""
        self.verdict.findings.append(
            Finding(
                code=code,
                is_damage=True,
                what=what,
                table=table,
                project=file.project if file else "",
                month=file.month if file else "",
                name=file.path if file else name,
            )
        )


def verify_lake(layout: Layout, *, ask_live: AskLive | None, keep_s: float, on_progress: Progress) -> Verdict:
    """Check every promise that the disk can break.

    Args:
        layout: Where the lake lives.
        ask_live: Asks the running owner what its memory says; None when the caller holds the lock.
        keep_s: How long replaced files stay. [s]
        on_progress: Called with (what, done, total).

    Raises:
        Unavailable: the lake changes faster than it can be read.
        MemoryError, OSError: this process has no memory or no files left, so nothing can be said about any file.
    """
    started_s = time.monotonic()
    picture = take_picture(layout, ask_live)
    verdict = Verdict(is_online=ask_live is not None, findings=list(picture.findings))
    examination = _Examination(
        layout=layout,
        ask_live=ask_live,
        keep_s=keep_s,
        on_progress=on_progress,
        picture=picture,
        verdict=verdict,
        quarantined=read_quarantined_paths(layout.log_dir),
    )
    _check_logs(examination)
    _check_segments(examination)
    _check_small_files(examination)
    for spec in TABLES.values():
        _check_table(examination, spec)
        _check_superseded(examination, spec)
        verdict.findings += check_mirror(layout, spec.name, _current(examination, spec.name), ask_live is not None)
        verdict.findings += check_leftovers(layout, spec.name, picture, keep_s)
    _check_values(examination)
    if ask_live is not None:
        _drop_what_moved_on(examination, ask_live)
        verdict.rows_agree = _compare_rows(layout, ask_live)
        if verdict.rows_agree is False:
            examination.find("rows_disagree", "files, log and memory of the running owner do not hold the same rows")
    verdict.findings.sort(key=lambda finding: not finding.is_damage)
    verdict.figures.duration_s = round(time.monotonic() - started_s, 3)
    return verdict


def _check_values(examination: _Examination) -> None:
    """Check the table that is derived from reports; what is wrong there is built anew, not set aside."""
    check = check_values(examination.layout, is_online=examination.ask_live is not None)
    figures = examination.verdict.figures
    figures.files += check.files
    figures.rows += check.rows
    figures.size_bytes += check.size_bytes
    examination.verdict.findings += check.findings
    picture = take_value_picture(examination.layout)
    if picture is not None:
        files, manifest_file = picture.log.state.files, values_manifest_path(examination.layout)
        is_online = examination.ask_live is not None
        examination.verdict.findings += check_mirror(
            examination.layout, VALUES.name, files, is_online, manifest_file=manifest_file
        )


# -- the Delta logs and what their commits say


def _check_logs(examination: _Examination) -> None:
    for table, log in examination.picture.logs.items():
        for wrong in log.wrong:
            finding = Finding(
                code="delta_log_damaged" if wrong.is_damage else "delta_log_torn",
                is_damage=wrong.is_damage,
                what=f"{wrong.name} of the Delta log {wrong.what}",
                table=table,
                name=f"_delta_log/{wrong.name}",
            )
            examination.verdict.findings.append(finding)
        examination.verdict.figures.commits += len(log.commits)
        examination.verdict.figures.checkpoints += len(log.checkpoints)
        _check_unknown_versions(examination, table)
        known: dict[str, int] = {}
        for _version, state in sorted(log.checkpoints.items()):
            known |= {path: file.rows for path, file in state.files.items()}
        for _version, commit in sorted(log.commits.items()):
            known |= {file.path: file.rows for file in commit.added}
        for commit in log.commits.values():
            miscounted = _miscounted(commit, known)
            if miscounted is not None:
                name = f"_delta_log/{commit.version:020d}.json"
                examination.find("commit_miscounts", miscounted, table=table, name=name)


def _check_unknown_versions(examination: _Examination, table: str) -> None:
    """At most the last commit may be unknown to the manifest, and only after a stop without warning."""
    durable = examination.picture.manifest.durable_version.get(table, -1)
    version = examination.picture.logs[table].state.version
    if version == durable or examination.picture.manifest.line_count == 0:
        return
    if version > durable:
        what = f"version {version} is not in the manifest, which goes to {durable}; the next start settles it"
        examination.verdict.findings.append(
            Finding(
                code="commit_unsettled",
                is_damage=version > durable + 1,
                what=what,
                table=table,
                name=f"_delta_log/{version:020d}.json",
            )
        )
    elif examination.picture.logs[table].is_whole:
        what = f"version {durable} was durable, but the Delta log ends at {version}"
        examination.find("commit_lost", what, table=table, name="_delta_log")


def _unsettled(examination: _Examination, table: str) -> tuple[set[str], set[str]]:
    """Return what commits that the manifest does not know yet (added, removed)."""
    if examination.picture.manifest.line_count == 0:
        return set(), set()
    durable = examination.picture.manifest.durable_version.get(table, -1)
    commits = [commit for commit in examination.picture.logs[table].commits.values() if commit.version > durable]
    added = {file.path for commit in commits for file in commit.added}
    return added, {path for commit in commits for path in commit.removed}


def _miscounted(commit: Commit, known: Mapping[str, int]) -> str | None:
    """Return what is wrong with the rows that a commit says it holds."""
    said = commit.said.get("gaugehouse.rows")
    if said is None or not said.isdecimal():
        return None
    added = sum(file.rows for file in commit.added)
    removed = sum(known.get(path, 0) for path in commit.removed)
    is_whole = all(path in known for path in commit.removed)
    if "gaugehouse.dropped" in commit.said:
        return None if not is_whole or removed == int(said) else f"it drops {removed:,} rows and says {said}"
    if added != int(said):
        return f"it adds {added:,} rows and says {said}"
    if "gaugehouse.compacted" in commit.said and is_whole and removed != added:
        return f"it merges {removed:,} rows into {added:,}"
    return None


# -- the write-ahead log and its neighbours


def _check_segments(examination: _Examination) -> None:
    picture = examination.picture
    figures = examination.verdict.figures
    for segment in picture.segments:
        figures.segments += 1
        figures.segment_rows += sum(segment.rows(table) for table in TABLES)
        for table, log in picture.logs.items():
            said = next(
                (c.said for c in log.commits.values() if c.said.get("gaugehouse.segment") == str(segment.number)), None
            )
            if said is not None and segment.rows(table) and said.get("gaugehouse.crc32c") != f"{segment.crc:08x}":
                what = f"log segment {segment.number} is not the one that was committed to {table}"
                examination.find("segment_differs", what, name=f"log/{segment.number:020d}.seg")
    if picture.log_uuid is None or picture.manifest.segment < 0:
        return
    for table, log in picture.logs.items():
        ids = log.state.transactions
        if ids and f"{picture.log_uuid}:{table}" not in ids:
            what = f"no commit of {table} is of this log: its identity is another"
            examination.find("log_identity_differs", what, name="log/uuid")


def _check_small_files(examination: _Examination) -> None:
    """Check the saved series indexes and the list of quarantined files against their own checksums."""
    log_dir = examination.layout.log_dir
    if is_half_restored(examination.layout):
        what = "a restore has not come to its end here: rows, people or reports are missing"
        examination.find("restore_unfinished", what, name=f"log/{RESTORING}")
    examination.verdict.figures.manifest_lines = examination.picture.manifest.line_count
    for spec in TABLES.values():
        path = index_path(log_dir, spec)
        content = path.read_bytes() if path.exists() else None
        if content is not None and content[:CHECKSUM_BYTES] != _checksum(content[CHECKSUM_BYTES:]):
            what = "the saved series index is not what was written; the next start makes it anew"
            examination.find("index_damaged", what, table=spec.name, name=f"log/index/{path.name}")
    _check_answers(examination, log_dir / ANSWERS)
    path = quarantine_path(log_dir)
    if path.exists() and not is_intact(path.read_bytes()):
        examination.find("quarantine_list_damaged", "the list of quarantined files is damaged", name="log/quarantine")


def _check_answers(examination: _Examination, path: Path) -> None:
    journal = path.with_name(f"{path.name}-journal")
    if not path.exists() or (examination.ask_live is None and journal.exists() and journal.stat().st_size):
        return  # after a stop without warning the next start finishes or undoes what was being written
    wrong = find_damage(path)
    if wrong is not None:
        what = f"the file of kept answers is damaged: {wrong}; repeated requests store nothing twice all the same"
        examination.find("answers_damaged", what, name=f"log/{path.name}")


def _checksum(content: bytes) -> bytes:
    return crc32c.crc32c(content).to_bytes(CHECKSUM_BYTES, "little")


# -- data files


def _current(examination: _Examination, table: str) -> dict[str, ListedFile]:
    return examination.picture.logs[table].state.files


def _check_table(examination: _Examination, spec: TableSpec) -> None:
    """Check the data files of one table, partition by partition."""
    files = _current(examination, spec.name)
    in_manifest = examination.picture.current(spec.name)
    _added, removed = _unsettled(examination, spec.name)
    for path in sorted(in_manifest - files.keys() - removed):
        what = "the manifest holds it for current, but the Delta log does not name it"
        examination.find("file_unlisted", what, table=spec.name, name=path)
    total = sum(file.rows for file in files.values())
    if total:
        examination.on_progress(f"verifying {spec.name}", 0, total)
    ordered = sorted(files.values(), key=lambda file: (file.project, file.month, file.path))
    for _partition, group in itertools.groupby(ordered, key=lambda file: (file.project, file.month)):
        _check_partition(examination, spec, list(group), total)


def _check_partition(examination: _Examination, spec: TableSpec, files: list[ListedFile], total: int) -> None:
    """Check files of one project and month: each by itself, then that no key is in two of them."""
    shares = -(-sum(max(file.rows, 0) for file in files) // KEYS_AT_ONCE) or 1
    readable: list[ListedFile] = []
    for which in range(shares):
        hashes: list[UInt64s] = []
        for file in files if which == 0 else readable:
            content = _whole_bytes(examination, spec.name, file, is_first=which == 0)
            found = None if content is None else _read(examination, spec, file, content, (which, shares))
            if which == 0:
                _advance(examination, spec, file, total)
            if found is None:
                continue
            hashes += found.hashes
            if which == 0:
                readable.append(file)
                _compare_contents(examination, spec, file, found)
        repeated = repeated_hashes(hashes)
        if repeated.size:
            _name_repeats(examination, spec, readable, repeated)


def _advance(examination: _Examination, spec: TableSpec, file: ListedFile, total: int) -> None:
    examination.done[spec.name] = examination.done.get(spec.name, 0) + file.rows
    examination.on_progress(f"verifying {spec.name}", examination.done[spec.name], total)


def _whole_bytes(examination: _Examination, table: str, file: ListedFile, *, is_first: bool) -> bytes | None:
    """Return a file's bytes if they are what was written."""
    if f"{table}/{file.path}" in examination.quarantined:
        what = f"{file.rows:,} rows are in quarantine until the file is repaired"
        examination.find("file_quarantined", what, table=table, file=file)
        return None
    written = examination.picture.manifest.files.get(table, {}).get(file.path)
    content, wrong = read_written(examination.layout.lake_dir / table, file.path, written, file.size_bytes)
    if is_first:
        examination.verdict.figures.files += 1
        examination.verdict.figures.size_bytes += len(content or b"")
        if written is None and file.path not in _unsettled(examination, table)[0]:
            what = "the manifest does not know it: nothing says what was written"
            examination.find("file_unknown", what, table=table, file=file)
    if wrong is not None:
        examination.find(wrong[0], wrong[1], table=table, file=file)
        return None
    return content if written is not None else None


def _read(
    examination: _Examination, spec: TableSpec, file: ListedFile, content: bytes, share: tuple[int, int]
) -> Contents | None:
    try:
        return read_contents(content, spec, share=share)
    except MemoryError:
        raise  # Arrow's is an ArrowException too, and says nothing about the file
    except READ_ERRORS:
        examination.find("file_unreadable", "a page cannot be read", table=spec.name, file=file)
        return None


def _compare_contents(examination: _Examination, spec: TableSpec, file: ListedFile, found: Contents) -> None:
    """Compare what a file holds with where it lies and with what the Delta log says of it."""
    examination.verdict.figures.rows += found.rows
    if not file.path.startswith(f"project={file.project}/month={file.month}/"):
        examination.find("partition_wrong", "its folder is that of another partition", table=spec.name, file=file)
    if found.instants_us is not None:
        months = {month_name(int(number)) for number in month_numbers_of(np.array(found.instants_us, np.int64))}
        if months != {file.month}:
            what = f"it holds rows of {' to '.join(sorted(months))}"
            examination.find("partition_wrong", what, table=spec.name, file=file)
    if found.unsorted_rows:
        what = f"{found.unsorted_rows:,} rows are not in the order of component, {spec.topic} and time"
        examination.find("file_unsorted", what, table=spec.name, file=file)
    if (what_else := _misdescribed(file.stats, spec, found)) is not None:
        examination.find("statistics_wrong", what_else, table=spec.name, file=file)


def _misdescribed(stats: Mapping[str, Any], spec: TableSpec, found: Contents) -> str | None:
    """Return in what the Delta log's statistics differ from a file's rows."""
    if stats.get("numRecords") != found.rows:
        return f"the Delta log says {stats.get('numRecords')} rows, it holds {found.rows:,}"
    if found.components is None or found.instants_us is None or found.received_us is None:
        return None
    lows, highs = stats.get("minValues", {}), stats.get("maxValues", {})
    if (lows.get("component"), highs.get("component")) != found.components:
        return "the Delta log's bounds of component are not those of its rows"
    for column, (low, high) in ((spec.instant, found.instants_us), ("received_at", found.received_us)):
        if (_milliseconds(lows.get(column)), _milliseconds(highs.get(column))) != (low // 1000, -(-high // 1000)):
            return f"the Delta log's bounds of {column} are not those of its rows"
    return None


def _milliseconds(text: object) -> int | None:
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except ValueError:
        return None


def _name_repeats(examination: _Examination, spec: TableSpec, files: Iterable[ListedFile], repeated: UInt64s) -> None:
    """Tell keys that are stored twice from different keys of one hash, and name the first."""
    seen: dict[tuple[object, ...], ListedFile] = {}
    for file in files:
        content, _wrong = read_written(examination.layout.lake_dir / spec.name, file.path, None, file.size_bytes)
        count, example = 0, ""
        for key in find_keys(content, spec, repeated) if content is not None else ():
            if key in seen:
                count += 1
                instant = from_epoch_us(int(str(key[2]))).isoformat()
                example = example or f"{key[0]} / {key[1]} at {instant}, also in {seen[key].path.rsplit('/', 1)[1]}"
            seen.setdefault(key, file)
        if count:
            what = f"{count:,} of its keys are stored already, such as {example}"
            examination.find("key_repeated", what, table=spec.name, file=file)


def _check_superseded(examination: _Examination, spec: TableSpec) -> None:
    """Check replaced files that running readers may still be reading."""
    manifest = examination.picture.manifest
    written = manifest.files.get(spec.name, {})
    paths = [path for path in manifest.superseded.get(spec.name, {}) if path in written]
    root = examination.layout.lake_dir / spec.name
    for done, path in enumerate(paths, 1):
        examination.verdict.figures.superseded_files += 1
        _content, wrong = read_written(root, path, written[path], written[path].size_bytes)
        examination.on_progress(f"verifying replaced {spec.name}", done, len(paths))
        if wrong is not None and wrong[0] != "file_missing":  # it may be due for removal, or set aside
            what = f"a file that running readers may still need: {wrong[1]}"
            examination.find("superseded_damaged", what, table=spec.name, name=path)


# -- beside a running owner


def _drop_what_moved_on(examination: _Examination, ask_live: AskLive) -> None:
    """Forget findings about files that a compaction or retention has replaced and removed meanwhile."""
    findings = examination.verdict.findings
    if not any(finding.code == "file_missing" for finding in findings):
        return
    now = take_picture(examination.layout, ask_live)
    examination.verdict.findings = [
        finding
        for finding in findings
        if finding.code != "file_missing" or finding.name in now.logs[finding.table].state.files
    ]


def _compare_rows(layout: Layout, ask_live: AskLive) -> bool | None:
    """Say whether files and log hold exactly the rows that readers of the owner see; None when it never rests."""
    agreed = None
    for _moment in range(MOMENTS):
        picture = take_picture(layout, ask_live)
        assert picture.live is not None  # noqa: S101 - there is an owner to ask
        agreed = all(_count(picture, table) == _count_live(picture, table) for table in TABLES)
        if agreed:
            return True
    return agreed


def _count_live(picture: Picture, table: str) -> int:
    assert picture.live is not None  # noqa: S101 - see above
    seen = picture.live.tables[table]
    return seen.file_rows + seen.hot_rows


def _count(picture: Picture, table: str) -> int:
    """Count the rows received up to the live moment: committed ones, and those of segments behind them."""
    assert picture.live is not None  # noqa: S101 - see above
    state = picture.logs[table].state
    committed = max(picture.manifest.segment, state.transactions.get(f"{picture.log_uuid}:{table}", -1))
    in_log = [
        segment.rows(table, through_us=picture.live.through_us)
        for segment in picture.segments
        if segment.number > committed
    ]
    return sum(file.rows for file in state.files.values()) + sum(in_log)


def broken_files(verdict: Verdict) -> list[Finding]:
    """Return the findings about current data files that cannot be served any more."""
    return [finding for finding in verdict.findings if finding.code in BROKEN]


def set_broken_aside(layout: Layout, verdict: Verdict) -> list[str]:
    """Put the broken files of a lake that the caller owns in quarantine; return them as 'table/path'.

    Each is read once more: what failed for a moment only stays where it is.

    Raises:
        OSError: this process cannot open files any more; what was not moved by then stays.
    """
    quarantine = Quarantine(layout.log_dir)
    quarantine.load()
    picture = take_picture(layout, None)
    moved = []
    for finding in broken_files(verdict):
        root = layout.lake_dir / finding.table
        file = picture.logs[finding.table].state.files.get(finding.name)
        written = picture.manifest.files.get(finding.table, {}).get(finding.name)
        if file is None or not _is_still_broken(root, file, written):
            continue
        quarantine.add(root, file, finding.what)
        shown = layout.lake_dir / PLAIN / finding.table / finding.name
        if shown.exists():  # a link to the damaged bytes; a sign makes globs fail instead
            draft = shown.with_suffix(".tmp")
            write_sign(draft, file.size_bytes)
            draft.replace(shown)
        moved.append(f"{finding.table}/{finding.name}")
    return moved


def _is_still_broken(root: Path, file: ListedFile, written: CommittedFile | None) -> bool:
    _content, wrong = read_written(root, file.path, written, file.size_bytes)
    return wrong is not None and is_broken(root, file, written)
