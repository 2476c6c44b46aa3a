"""Readers of every kind beside writers, flushes, merges, checkpoints and exchanges: what they see is whole, and once."""

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable

from faults.batches import (
    FOLDED,
    FOLDS,
    BatchSender,
    LineSender,
    count_batches,
    count_newest,
    fold,
    newest_of,
    window_from,
)
from functional.installation import wait_until
from functional.rows import read_answer
from functional.senders import sending
from gaugehouse.config import Layout
from gaugehouse.lake import open_snapshot, read_committed_through
from gaugehouse.lake.control import ask_owner
from gaugehouse.measurements.selection import Selection
from payloads import ARROW

# Everything happens several times a second. At least every second merge is asked for: sixteen flushes take longer.
SETTINGS = {
    "GAUGEHOUSE_SEGMENT_AGE_S": "0.2",
    "GAUGEHOUSE_CHECKPOINT_EVERY_COMMITS": "6",
    "GAUGEHOUSE_TOKEN_LIFETIME_S": "14400",
    "GAUGEHOUSE_WORKERS": "0",
}
COMPACTION_PAUSE_S = 0.7
WINDOW_BATCHES = 60  # whoever reads rows reads the newest ones only
PAGE_ROWS = 211  # no divisor of a batch: pages end in the middle of one
# What engines say when a file of their list was exchanged before they opened it. Anything else is a failure.
PLAIN_ERRORS = (duckdb.Error, pl.exceptions.PolarsError, pa.ArrowException, OSError)
GONE = re.compile(r"No such file|magic bytes|out of specification", re.IGNORECASE)


class FileGone(Exception):
    """A file of the reader's list is not there any more: it may list again."""


class World:
    """A running server, who writes to it, and every way of reading what was written.

    Each way returns {sender: batches that are there}, or fails because there is something else.
    """

    def __init__(self, installation):
        self.installation = installation
        self.layout = Layout(installation.data_dir)
        self.senders = [BatchSender(installation, "north"), BatchSender(installation, "south")]
        self.mixed = LineSender(installation, "mixed")
        self.senders.append(self.mixed)

    # --- over HTTP ---

    def page_through_rows(self, client):
        first, params = self._window()
        rows, cursor = [], {}
        while True:
            answer = client.get("/v1/measurements", params=params | {"limit": PAGE_ROWS} | cursor)
            rows += read_answer(answer)
            next_cursor = answer.json()["next_cursor"]
            if next_cursor is None:
                break
            cursor = {"cursor": next_cursor}
        return count_batches(fold(as_frame(rows)), first=first)

    def download_arrow(self, client):
        first, params = self._window()
        answer = client.get("/v1/measurements", params=params, headers={"Accept": ARROW}).raise_for_status()
        return count_batches(fold(pl.DataFrame(pa.ipc.open_stream(answer.content).read_all())), first=first)

    def _window(self):
        first, start = window_from(min(sender.acknowledged for sender in self.senders) - WINDOW_BATCHES)
        return first, {"start": start.isoformat()}

    def summarize(self, client):
        rows = pl.DataFrame(client.get("/v1/summary").raise_for_status().json()["items"], infer_schema_length=None)
        assert (rows["mean"] == (rows["min"] + rows["max"]) / 2).all(), rows
        return count_batches(rows.with_columns(distinct="n", low="min", high="max"))

    def aggregate(self, client):
        params = {"every": "10m", "aggregate": ["count", "sum", "min", "max"]}
        answer = client.get("/v1/measurements", params=params).raise_for_status()
        buckets = pl.DataFrame(answer.json()["items"], infer_schema_length=None)
        series = buckets.group_by("component", "metric").agg(
            n=pl.col("count").sum(), distinct=pl.col("count").sum(), low=pl.col("min").min(), high=pl.col("max").max()
        )
        sums = buckets.group_by("component", "metric").agg(pl.col("sum").sum()).join(series, on=["component", "metric"])
        assert (sums["sum"] == sums["n"] * (sums["low"] + sums["high"]) / 2).all(), sums
        return count_batches(series)

    def find_newest(self, client):
        return count_newest(as_frame(read_answer(client.get("/v1/latest"))))

    def read_rows_and_events_in_turn(self, client):
        """An event is there if and only if its measurements are: what is read later may be more, never less."""
        before = self.summarize(client)
        events = pa.ipc.open_stream(
            client.get("/v1/events", headers={"Accept": ARROW}).raise_for_status().content
        ).read_all()
        after = self.summarize(client)
        assert before[self.mixed.name] <= events.num_rows <= after[self.mixed.name]
        return after

    # --- beside the server ---

    def open_snapshot(self):
        """Both tables at one moment: as many events as batches that came with one."""
        snapshot = open_snapshot(self.layout.lake_dir, as_of=read_committed_through(self.layout))
        folded = snapshot.read(Selection(project="default"), FOLDED.format(rows="rows")).read_all()
        events = snapshot.read(Selection(project="default"), "SELECT count(*) FROM rows", table="events").read_all()
        counts = count_batches(pl.DataFrame(folded))
        assert counts[self.mixed.name] == events[0][0].as_py()
        return counts

    def scan_delta_by_polars(self):
        scan = pl.scan_delta(str(self.layout.lake_dir / "measurements"))
        return count_batches(scan.group_by("component", "metric").agg(**FOLDS).collect())

    def read_delta_by_pyarrow(self):
        table = DeltaTable(self.layout.lake_dir / "measurements").to_pyarrow_table(
            columns=["component", "metric", "value"]
        )
        return count_batches(fold(pl.DataFrame(table)))

    @property
    def glob(self):
        return str(self.layout.lake_dir / "plain" / "measurements" / "**" / "*.parquet")

    def glob_by_duckdb(self):
        with gone_files(), duckdb.connect() as connection:
            rows = f"read_parquet('{self.glob}', hive_partitioning = true)"
            folded = connection.sql(FOLDED.format(rows=rows)).to_arrow_table()
        return count_batches(pl.DataFrame(folded))

    def glob_by_polars(self):
        with gone_files():
            folded = pl.scan_parquet(self.glob).group_by("component", "metric").agg(**FOLDS).collect()
        return count_batches(folded)

    def glob_by_pyarrow(self):
        folder = self.layout.lake_dir / "plain" / "measurements"
        with gone_files():
            rows = ds.dataset(folder, partitioning="hive").to_table(columns=["component", "metric", "value"])
        return count_batches(fold(pl.DataFrame(rows)))


LIVE = (
    World.page_through_rows,
    World.download_arrow,
    World.summarize,
    World.aggregate,
    World.find_newest,
    World.read_rows_and_events_in_turn,
)
OF_FILES = (World.open_snapshot, World.scan_delta_by_polars, World.read_delta_by_pyarrow)
PLAIN = (World.glob_by_duckdb, World.glob_by_polars, World.glob_by_pyarrow)


def as_frame(rows):
    return pl.DataFrame(rows, infer_schema_length=None).select("component", "metric", "measured_at", "value")


@contextmanager
def gone_files():
    """Tell a file that went away apart from everything else that an engine can complain about."""
    try:
        yield
    except PLAIN_ERRORS as exc:
        if GONE.search(str(exc)) is None:
            raise
        raise FileGone from exc


class Readers:
    """Many readers at once, until they have read so often together, and each of them some."""

    def __init__(self, world, reads):
        self._world = world
        self._reads = reads
        self._least = reads // 100
        self.done = Counter()
        self.gone = Counter()
        self._failed = threading.Event()

    def run(self):
        """Read; raise what the first failed reader raised."""
        clients = {read: self._world.installation.sign_in("vera") for read in LIVE}
        with ThreadPoolExecutor(len(LIVE + OF_FILES + PLAIN)) as pool:
            runs = [pool.submit(self._keep_reading, read, clients.get(read)) for read in LIVE + OF_FILES + PLAIN]
        for run in runs:
            run.result()

    def _is_wanted(self, read):
        is_enough = self.done.total() >= self._reads and self.done[read.__name__] >= self._least
        return not is_enough and not self._failed.is_set()

    def _keep_reading(self, read, client):
        seen = Counter()
        try:
            while self._is_wanted(read):
                least = self._least_to_see(read)
                try:
                    found = Counter(read(self._world) if client is None else read(self._world, client))
                except FileGone:
                    self.gone[read.__name__] += 1
                    continue
                self.done[read.__name__] += 1
                for sender in self._world.senders:
                    count = found[sender.name]
                    assert count >= seen[sender.name], f"{read.__name__}: {sender.name} went back to {count}"
                    assert count >= least[sender.name], f"{read.__name__}: {count} batches, acknowledged were {least}"
                    assert count <= sender.sent, f"{read.__name__}: {count} batches, sent were {sender.sent}"
                seen = found
        except BaseException:
            self._failed.set()
            raise

    def _least_to_see(self, read):
        """Return what a read that begins now must show: all that is acknowledged, or all that is in the files."""
        if read in LIVE:
            counts = {sender.name: sender.acknowledged for sender in self._world.senders}
            return {name: newest_of(count) for name, count in counts.items()} if read is World.find_newest else counts
        through = read_committed_through(self._world.layout)
        return {sender.name: sender.acknowledged_through(through) for sender in self._world.senders}


def ask(installation, do, **given):
    return ask_owner(installation.data_dir / "run", do, given, lambda *_: None)


@contextmanager
def compacting(installation):
    """Let the owner merge all it can, again and again, while the block runs; give the number of calls that merged."""
    stop, merged = threading.Event(), []

    def run():
        while not stop.is_set():
            done = ask(installation, "compact", project=None)
            if done["merges"]:
                merged.append(done["merges"])
            stop.wait(COMPACTION_PAUSE_S)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield merged
        finally:
            stop.set()
        running.result()


def log_versions(world, suffix):
    folder = world.layout.lake_dir / "measurements" / "_delta_log"
    return sorted(int(path.name[:20]) for path in folder.glob(f"*.{suffix}"))


@pytest.mark.parametrize(
    "reads",
    [600, pytest.param(50_000, marks=[pytest.mark.torture, pytest.mark.timeout(10_800)])],
    ids=["some reads", "50,000 reads"],
)
def test_no_reader_sees_half_a_batch_or_a_row_twice_or_less_than_before(found, reads, tally):
    world = World(found(SETTINGS).start())
    readers = Readers(world, reads)
    with sending(world.senders):
        wait_until(lambda: read_committed_through(world.layout), what="the first commit")
        wait_until(lambda: all(len(s.received) > 5 for s in world.senders[:2]) and world.mixed.acknowledged > 5)
        wait_until(lambda: set(world.scan_delta_by_polars()) == {sender.name for sender in world.senders})
        with compacting(world.installation) as merged:
            readers.run()
    ask(world.installation, "flush")  # a busy disk may need longer than a stop has
    world.installation.stop_in_any_state()
    assert_all_that_was_acknowledged_is_there(world)
    assert merged
    assert log_versions(world, "checkpoint.parquet")
    assert log_versions(world, "json")[0] > 0, "no log entry was cleaned up"
    for name, count in readers.done.items():
        tally[f"reads: {name}"] += count
    for name, count in readers.gone.items():
        tally[f"reads that were told to list again: {name}"] += count
    tally["merges beside readers"] += sum(merged)
    tally["commits beside readers"] += log_versions(world, "json")[-1]


def assert_all_that_was_acknowledged_is_there(world):
    expected = {sender.name: sender.acknowledged for sender in world.senders}
    for read in OF_FILES + PLAIN:
        assert read(world) == expected, read.__name__
