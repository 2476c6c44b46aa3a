"""Single bits that flip on the disk: found and named, never served, and mended where anything is left to mend from."""

import json
import random
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.exceptions import PanicException

from functional.installation import Installation, assert_problem
from gaugehouse.cli.options import EXIT_START_REFUSED
from gaugehouse.cli.progress import PIPE_COLUMNS
from gaugehouse.config import Layout, Settings
from gaugehouse.errors import DamageFound, Unavailable
from gaugehouse.lake import Lake, Pool, repair_lake
from gaugehouse.lake.answers import ANSWERS, Answers
from gaugehouse.lake.findings import Finding
from gaugehouse.lake.verify import set_broken_aside
from gaugehouse.measurements.selection import Selection
from integration.lake.lake_images import (
    copy,
    data_files,
    flip,
    happened,
    keep_answers,
    make_images,
    measured,
    quiet,
    verify,
)

SEED = 20261123
SENT = [("plant", start) for start in (*range(0, 360, 60), 1000, 2000)]
KINDS = {
    "data files": ("lake/*/project=*/month=*/part-*", "lake/*/project=*/month=*/merged-*"),
    "Delta log entries": ("lake/*/_delta_log/*.json",),
    "checkpoints": ("lake/*/_delta_log/*.checkpoint.parquet", "lake/*/_delta_log/_last_checkpoint"),
    "log segments": ("log/*.seg",),
    "manifest": ("log/manifest",),
    "series index": ("log/index/*.arrow",),
    "identity of the log": ("log/uuid",),
    "quarantine list": ("log/quarantine",),
}
WHOLE, REFUSED, WRONG = "right rows", "right rows or were refused by name", "wrong rows"
NO_START = "no server: its start named the damage"


class Image:
    """A lake as a power cut leaves it, with a file of `north` in quarantine, its backup, and what it holds."""

    def __init__(self, folder):
        _closed, self.layout = make_images(folder)
        keep_answers(self.layout)
        settled = copy(self.layout.data_dir, folder / "settled")
        lake = open_lake(settled)
        backed = lake.back_up(folder / "backups")
        self.rows = {project: counted(lake, project) for project in ("plant", "north")}
        self.events = events_of(lake)
        lake.close()
        files = {f"{table}/{one.entry.path}": one for table, files in backed.tables.items() for one in files}
        self.pool = Pool(folder=folder / "backups", files=files)
        self.plain = plain_rows(self.layout)
        (path,) = data_files(self.layout, pattern="project=north/month=*/*.parquet")
        self.quarantined = copy(self.layout.data_dir, folder / "quarantined")
        flip(self.quarantined.data_dir / path.relative_to(self.layout.data_dir), 5000)
        assert set_broken_aside(self.quarantined, verify(self.quarantined))

    def draw(self, rng, folder):
        """Return a copy with one bit flipped, of which kind of file it is one, and that file."""
        kind = rng.choice(list(KINDS))
        layout = copy((self.quarantined if kind == "quarantine list" else self.layout).data_dir, folder)
        paths = sorted(path for pattern in KINDS[kind] for path in folder.glob(pattern))
        path = rng.choice(paths)
        flip(path, rng.randrange(8 * path.stat().st_size))
        return layout, kind, path


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return Image(tmp_path_factory.mktemp("image"))


def open_lake(layout):
    settings = Settings(data_dir=layout.data_dir, segment_age_s=3600, free_space_bytes=0)
    return Lake.open(layout, settings, on_failure=pytest.fail)


def counted(lake, project):
    """Return every row of a project as the server would answer it."""
    read = lake.pin().read(Selection(project=project), "SELECT * FROM rows").read_all()
    return pl.from_arrow(read).sort(pl.all())


def events_of(lake):
    read = lake.pin().read(Selection(project="plant"), "SELECT * FROM rows", table="events").read_all()
    return pl.from_arrow(read).sort(pl.all())


def plain_rows(layout):
    """Return what a reader of Delta Lake finds that knows nothing of us."""
    tables = [pl.scan_delta(str(layout.lake_dir / table)).collect() for table in ("measurements", "events")]
    return [table.sort(pl.all()) for table in tables]


def look_plainly(image, layout):
    try:
        found = plain_rows(layout)
    except (Exception, PanicException):  # noqa: BLE001 - whatever an engine says, it is not a number
        return "an error"
    same = all(one.equals(other) for one, other in zip(found, image.plain, strict=True))
    return WHOLE if same else WRONG


def ask(read, expected):
    refusal = None
    try:
        found = read()
    except Unavailable as exc:
        refusal = exc
    if refusal is None:
        return WHOLE if found.equals(expected) else WRONG
    assert refusal.code == "file_quarantined", refusal.message
    assert refusal.fields["project"] in {"plant", "north"}
    return REFUSED


def serve(image, layout):
    """Start a lake and ask it everything; return what its users were told."""
    refusal = None
    try:
        lake = open_lake(layout)
    except DamageFound as exc:
        refusal = exc
    if refusal is not None:
        assert "gaugehouse lake repair" in refusal.message
        return {NO_START}
    try:
        told = {ask(lambda project=project: counted(lake, project), rows) for project, rows in image.rows.items()}
        told.add(ask(lambda: events_of(lake), image.events))
        told |= {ask_for_half_a_minute(image, lake, start) for _project, start in SENT}
        told |= {send_again(lake, start) for _project, start in SENT}
        for start in range(0, 60, 10):
            with suppress(Unavailable):
                assert lake.append_events("plant", happened(start)).accepted == 0
    finally:
        lake.close()
    return told


def ask_for_half_a_minute(image, lake, start):
    """Ask with bounds, as files and row groups are left out by their statistics."""
    first = image.rows["plant"]["measured_at"].min() + timedelta(seconds=start)
    selection = Selection(project="plant", components=("pump-1",), start=first, end=first + timedelta(seconds=30))
    rows = image.rows["plant"].filter(
        (pl.col("component") == "pump-1") & pl.col("measured_at").is_between(first, selection.end, closed="left")
    )
    assert rows.height
    read = lambda: pl.from_arrow(lake.pin().read(selection, "SELECT * FROM rows").read_all()).sort(pl.all())  # noqa: E731
    return ask(read, rows)


def send_again(lake, start):
    """Deliver rows that are stored: they are duplicates, or the delivery is refused."""
    try:
        receipt = lake.append_measurements("plant", measured(start))
    except Unavailable:
        return REFUSED
    return WHOLE if (receipt.accepted, receipt.duplicates) == (0, 360) else WRONG


def name_in(layout, path):
    """Return how `lake verify` names a file: (table, path in it), or the path below the installation."""
    parts = path.relative_to(layout.data_dir).parts
    return (parts[1], "/".join(parts[2:])) if parts[0] == "lake" else ("", "/".join(parts))


def is_named(finding: Finding, table, name):
    return finding.name == name and finding.table == (table or finding.table)


@pytest.mark.parametrize(
    ("seed", "flips"), [(SEED, 16), pytest.param(SEED + 1, 1_000, marks=pytest.mark.torture)], ids=["few", "many"]
)
@pytest.mark.timeout(3600)
def test_every_flipped_bit_is_named_never_served_and_mended(image, tmp_path, seed, flips, tally):
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    for number in range(flips):
        layout, kind, path = image.draw(rng, tmp_path / f"flip-{number}")
        what = (seed, number, path.name)
        tally["flipped bits"] += 1
        tally[f"flipped bits in: {kind}"] += 1
        verdict = verify(layout)
        assert any(is_named(finding, *name_in(layout, path)) for finding in verdict.findings), what
        tally["flipped bits that `lake verify` named"] += 1
        if kind != "quarantine list":
            tally[f"flipped bits: plain Delta readers got {look_plainly(image, layout)}"] += 1
        other = copy(layout.data_dir, tmp_path / "other")
        told = serve(image, layout)
        assert WRONG not in told, (*what, told)
        outcome = next(one for one in (NO_START, REFUSED, WHOLE) if one in told)
        tally[f"flipped bits: users got {outcome}"] += 1
        check_that_repair_mends(image, other, kind, what, tally)
        shutil.rmtree(layout.data_dir)
        shutil.rmtree(other.data_dir)


def check_that_repair_mends(image, layout, kind, what, tally):
    """Repair with a backup at hand: all is as it was, but for deliveries of the log that have no other copy."""
    done = repair_lake(layout, image.pool, quiet)
    assert [finding for finding in verify(layout).findings if finding.is_damage] == [], (what, done.mended)
    assert look_plainly(image, layout) == WHOLE, (what, done.mended)
    assert done.is_whole or kind == "log segments", (what, done.mended)
    assert repair_lake(layout, image.pool, quiet).mended == (), what
    lake = open_lake(layout)
    try:
        rows = counted(lake, "plant")
        lost = image.rows["plant"].height - rows.height
        assert rows.equals(image.rows["plant"]) or (kind == "log segments" and not done.is_whole), what
        assert rows.join(image.rows["plant"], on=rows.columns, how="anti", nulls_equal=True).height == 0, what
    finally:
        lake.close()
    if done.is_whole:
        tally["flipped bits that `lake repair` mended without loss"] += 1
    else:
        tally["flipped bits of the log with a delivery lost, named, all others kept"] += 1
        assert lost in {0, 120, 360}, what


@pytest.mark.parametrize(
    ("seed", "flips"), [(SEED, 40), pytest.param(SEED + 1, 1_000, marks=pytest.mark.torture)], ids=["few", "many"]
)
def test_a_flipped_bit_in_the_kept_answers_is_found_or_changes_no_answer(image, tmp_path, seed, flips, tally):
    """Most of the file is room that SQLite keeps: a bit that flips there says nothing to anybody."""
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    layout = copy(image.layout.data_dir, tmp_path / "lake")
    path = layout.log_dir / ANSWERS
    written = path.read_bytes()
    expected = {answer.key: answer for answer in kept_answers(path)}
    assert len(expected) == 50
    path.write_bytes(written)
    for _number in range(flips):
        flip(path, rng.randrange(8 * len(written)))
        is_found = any(finding.code == "answers_damaged" for finding in verify(layout).findings)
        found = {answer.key: answer for answer in kept_answers(path)}
        assert all(expected.get(key) == answer for key, answer in found.items())
        assert is_found or found == expected
        tally[f"flipped bits in kept answers: {'found' if is_found else 'in unused room, every answer is right'}"] += 1
        for other in path.parent.glob(f"{ANSWERS}*"):
            other.unlink()
        path.write_bytes(written)


def kept_answers(path):
    answers = Answers(path)
    answers.open()
    try:
        return answers.kept()
    finally:
        answers.close()


# -- as people see it: a server, its users, the command line

JANUARY, FEBRUARY = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 2, 5, tzinfo=UTC)
ROWS = 200


def deliver(installation, day):
    rows = [
        {"component": "pump", "metric": "flow", "measured_at": (day + timedelta(seconds=n)).isoformat(), "value": n / 7}
        for n in range(ROWS)
    ]
    receipt = installation.device().post("/v1/measurements", json=rows).json()
    return receipt["accepted"], receipt["duplicates"]


def values(installation, day):
    """Return the answer to a question about one day, and its values if it has any."""
    bounds = {"start": day.isoformat(), "end": (day + timedelta(days=1)).isoformat(), "limit": "1000"}
    answer = installation.sign_in("vera").get("/v1/measurements", params=bounds)
    return answer, [row["value"] for row in answer.json().get("items", [])]


@pytest.fixture(scope="module")
def template(found, tmp_path_factory):
    """(a stopped installation with a file of January and one of February, its backups)."""
    backups = tmp_path_factory.mktemp("backups")
    installation = found({"GAUGEHOUSE_SEGMENT_AGE_S": "3600"}).start()
    for day in (JANUARY, FEBRUARY):
        assert deliver(installation, day) == (ROWS, 0)
        installation.run_well("lake", "flush")
    installation.run_well("backup", backups)
    installation.stop()
    return installation, backups


@pytest.fixture
def backed_up(template, tmp_path):
    """(a copy of that installation, the backups)."""
    original, backups = template
    installation = Installation(copy(original.data_dir, tmp_path / "data").data_dir, original.environment)
    installation.key = original.key
    yield installation, backups
    installation.close()


def file_of(installation, month):
    (path,) = (installation.data_dir / "lake" / "measurements").glob(f"project=default/month={month}/*.parquet")
    return path


def test_users_of_a_server_on_a_damaged_file_are_told_and_a_backup_brings_it_back_beside_it(backed_up, tally):
    installation, backups = backed_up
    path = file_of(installation, "2026-01")
    at = path.read_bytes().index(b"PAR1", 4) // 2 * 8  # somewhere in the pages: no reader would notice
    flip(path, at)
    flip(path, at + 100)
    installation.start()
    right = [n / 7 for n in range(ROWS)]
    assert values(installation, FEBRUARY)[1] == right
    body = assert_problem(values(installation, JANUARY)[0], 503, "file_quarantined")
    assert (body["table"], body["project"], body["month"]) == ("measurements", "default", "2026-01")
    named = installation.run("lake", "verify", "--json")
    assert named.returncode == 3
    assert path.name in {finding["name"].rpartition("/")[2] for finding in json.loads(named.stdout)["findings"]}
    unmended = installation.run("lake", "repair")
    assert unmended.returncode == 3
    assert unmended.stdout.splitlines()[-1] == "result: 1 of 1 NOT MENDED, 200 rows lost until a copy is found"
    assert max(len(line.rstrip()) for line in unmended.stdout.splitlines()) <= PIPE_COLUMNS
    mended = installation.run("lake", "repair", "--from", backups)
    assert (mended.returncode, mended.stdout.splitlines()[-1]) == (0, "result: MENDED, 1 repair, nothing lost")
    assert values(installation, JANUARY)[1] == right
    assert deliver(installation, JANUARY) == (0, ROWS)
    assert installation.run("lake", "verify").returncode == 0
    installation.stop()
    tally["damaged files served by a real server: refused by name, then brought back beside it"] += 1


def test_a_server_does_not_start_on_a_damaged_delta_log_and_repair_says_what_it_did(backed_up, tally):
    installation, _backups = backed_up
    entry = max((installation.data_dir / "lake" / "measurements" / "_delta_log").glob("*.json"))
    entry.unlink()
    refused = installation.run("serve", "--port", "0")
    assert refused.returncode == EXIT_START_REFUSED
    assert "`gaugehouse lake repair` brings it back" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = json.loads(installation.run_well("lake", "repair", "--json"))
    assert (done["is_whole"], [one["name"].rpartition("/")[2] for one in done["mended"]]) == (True, [entry.name])
    assert "nothing to mend" in installation.run_well("lake", "repair")
    installation.start()
    assert values(installation, JANUARY)[1] == values(installation, FEBRUARY)[1] == [n / 7 for n in range(ROWS)]
    installation.stop()
    tally["damaged Delta logs that a real server refused to start on, mended"] += 1


@pytest.mark.parametrize("kills", [1, pytest.param(40, marks=pytest.mark.torture)], ids=["few", "many"])
def test_a_repair_that_is_killed_is_finished_by_the_next(backed_up, tmp_path, kills, tally):
    installation, backups = backed_up
    rng = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    for kill in range(kills):
        data_dir = copy(installation.data_dir, tmp_path / f"killed-{kill}").data_dir
        for path in data_files(Layout(data_dir), pattern="project=default/month=*/*.parquet"):
            path.write_bytes(path.read_bytes()[:-50])
        (data_dir / "log" / "manifest").write_bytes(
            (data_dir / "log" / "manifest").read_bytes().replace(b"part-", b"bart-", 1)
        )
        killed = Installation(data_dir)
        child = killed.begin("lake", "repair", "--from", backups)
        time.sleep(rng.uniform(0.05, 0.6))
        child.kill()
        child.wait()
        assert killed.run("lake", "repair", "--from", backups).returncode == 0
        assert killed.read_lake().height == 2 * ROWS
        assert killed.run("lake", "verify").returncode == 0
        tally["repairs killed, finished by the next"] += 1
