"""What senders were told is stored, project by project, and what plain readers find of it."""

import random
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import duckdb
import httpx
import polars as pl
import pyarrow as pa

from functional.senders import PATIENCE_S, send_until_answered
from payloads import ARROW, EVENTS, JSON, MEASUREMENTS, to_table, write

SCHEMAS = {"measurements": MEASUREMENTS, "events": EVENTS}
COLUMNS = {"measurements": ("metric", "measured_at", "value"), "events": ("kind", "occurred_at", "body")}
ROW = {"project": pl.String, "component": pl.String, "topic": pl.String, "t": pl.Int64}
FRAMES = {
    "measurements": ROW | {"payload": pl.Float64, "received_at": pl.Int64},
    "events": ROW | {"payload": pl.String, "received_at": pl.Int64},
}
KEPT = [*ROW, "payload"]
GONE = {401, 403, 404}  # how senders learn that their project was deleted
MONTHS_A_YEAR = 12
FIRST_MONTH = 1990 * MONTHS_A_YEAR  # months are counted from the year 0
FIRST_DAYS = timedelta(days=3)  # nobody measures on them: bounds of retention are whole days
GLOB_ATTEMPTS, GLOB_PAUSE_S = 50, 0.1


def start_of(month):
    """Return the first instant of a month."""
    return datetime(month // MONTHS_A_YEAR, month % MONTHS_A_YEAR + 1, 1, tzinfo=UTC)


# --- readers that know nothing of Gaugehouse ---


def read_delta(lake_dir, table):
    """Return project, component, topic, t [us], payload and received_at [us] of every row, by the Delta log."""
    topic, instant, payload = COLUMNS[table]
    return (
        pl.scan_delta(str(lake_dir / table))
        .select(
            "project",
            "component",
            pl.col(topic).alias("topic"),
            pl.col(instant).dt.epoch("us").alias("t"),
            pl.col(payload).alias("payload"),
            pl.col("received_at").dt.epoch("us"),
        )
        .collect()
        .cast(FRAMES[table])
    )


def read_plain(lake_dir, table):
    """Return the same by a glob over the plain files."""
    return read_glob(lake_dir / "plain" / table, table)


def read_glob(root, table):
    """Return the same of all Parquet files below a folder; where some go meanwhile the reader is told and tries again."""
    topic, instant, payload = COLUMNS[table]
    sql = f"""
        SELECT project, component, {topic} AS topic, epoch_us({instant}) AS t, {payload} AS payload,
            epoch_us(received_at) AS received_at
        FROM read_parquet($files, hive_partitioning = true, hive_types_autocast = false)"""  # noqa: S608 - our names
    for _attempt in range(GLOB_ATTEMPTS):
        if not any(root.rglob("*.parquet")):
            return pl.DataFrame(schema=FRAMES[table])
        try:
            with duckdb.connect() as connection:
                found = connection.sql(sql, params={"files": str(root / "**" / "*.parquet")}).to_arrow_table()
        except duckdb.Error as exc:  # told by a missing file, or by a sign in its place
            told = exc
            time.sleep(GLOB_PAUSE_S)
        else:
            return pl.from_arrow(found).cast(FRAMES[table])
    raise AssertionError(f"no glob over {table} came to its end: {told}")


def compare(found, expected, what):
    """Fail unless two frames hold the same rows, each once."""
    found, expected = (frame.select(KEPT).sort(KEPT) for frame in (found, expected))
    if found.equals(expected):
        return
    lost = expected.join(found, on=KEPT, how="anti")
    strange = found.join(expected, on=KEPT, how="anti")
    doubled = found.height - found.n_unique()
    raise AssertionError(
        f"{what}: {lost.height} rows lost, {doubled} doubled, {strange.height} that nobody was told of; "
        f"{found.height} rows of {expected.height}\n{lost.head(5)}\n{strange.head(5)}"
    )


def assert_readers_agree(lake_dir):
    """Check that Delta log and glob give the same rows. Nobody writes meanwhile."""
    for table in SCHEMAS:
        by_log, by_glob = (read(lake_dir, table) for read in (read_delta, read_plain))
        assert by_glob.sort(by_log.columns).equals(by_log.sort(by_log.columns)), table


# --- senders and what they were told ---


class Gate:
    """Lets many through until somebody needs a moment in which nobody is on the way."""

    def __init__(self):
        self._changed = threading.Condition()
        self._inside = 0
        self._is_closed = False

    @contextmanager
    def passing(self):
        with self._changed:
            self._changed.wait_for(lambda: not self._is_closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def closed(self):
        """Keep all out while the block runs; those inside come to their end first."""
        with self._changed:
            self._is_closed = True
            assert self._changed.wait_for(lambda: self._inside == 0, PATIENCE_S), "somebody never came out"
        try:
            yield
        finally:
            with self._changed:
                self._is_closed = False
                self._changed.notify_all()


class Months:
    """The months that senders write to. They move on; behind the oldest that somebody writes to all may be dropped."""

    def __init__(self):
        self._current = FIRST_MONTH
        self._under_way = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def writing(self):
        """Give the first of the two months to write to; neither is dropped before the block ends."""
        with self._lock:
            month = self._current
            self._under_way[month] += 1
        try:
            yield month
        finally:
            with self._lock:
                self._under_way[month] -= 1

    def move_on(self):
        """Go to the next month; return before which one nobody will ever write again."""
        with self._lock:
            self._current += 1
            return min([self._current, *(month for month, writers in self._under_way.items() if writers)])


class Ledger:
    """What the senders of one project were told is stored, and what was dropped of it since.

    Args:
        project: Its slug.
        key: Its API key.
    """

    def __init__(self, project, key):
        self.project = project
        self.key = key
        self.months = Months()
        self.fate = "kept"  # or "deleting": asked for, outcome unknown; or "deleted"
        self.dropped_before = dict.fromkeys(SCHEMAS, 0)
        self.asked_before = 0  # dropping was asked for, outcome unknown
        self._told = {table: [] for table in SCHEMAS}

    def note(self, table, rows):
        self._told[table].append(rows)

    def everything(self, table):
        """Return every row that anybody was told is stored, with its month, whatever became of it."""
        topic, instant, payload = COLUMNS[table]
        told = list(self._told[table])
        rows = pl.from_arrow(pa.concat_tables(told)) if told else pl.from_arrow(SCHEMAS[table].empty_table())
        return with_month(
            rows.select(
                pl.lit(self.project).alias("project"),
                "component",
                pl.col(topic).alias("topic"),
                pl.col(instant).dt.epoch("us").alias("t"),
                pl.col(payload).alias("payload"),
            )
        )

    def check(self, found, reader):
        """Fail unless the rows found, by table, are those that were told, each once.

        Of what nobody knows whether it was dropped or deleted, either all is there or nothing; once gone it stays so.
        """
        mine = {table: with_month(rows.filter(pl.col("project") == self.project)) for table, rows in found.items()}
        if self.fate == "deleting" and all(rows.is_empty() for rows in mine.values()):
            self.fate = "deleted"
        for table, rows in mine.items():
            compare(rows, self._standing(table, rows), f"{table} of {self.project} by {reader}")

    def _standing(self, table, found):
        everything = self.everything(table)
        if self.fate == "deleted":
            return everything.clear()
        first_found = self.asked_before if found.is_empty() else found["month"].min()
        begin = max(self.dropped_before[table], min(first_found, self.asked_before))
        self.dropped_before[table] = begin
        return everything.filter(pl.col("month") >= begin)


def with_month(rows):
    """Add the month of each row, counted from the year 0."""
    moment = pl.from_epoch("t", time_unit="us").dt
    return rows.with_columns((moment.year().cast(pl.Int64) * MONTHS_A_YEAR + moment.month() - 1).alias("month"))


def judge(lake_dir, ledgers):
    """Compare what plain readers find, by the Delta log and by a glob, with what was told. Nobody writes meanwhile."""
    projects = [ledger.project for ledger in ledgers]
    for read in (read_delta, read_plain):
        found = {table: read(lake_dir, table) for table in SCHEMAS}
        for table, rows in found.items():
            assert rows.filter(~pl.col("project").is_in(projects)).is_empty(), f"{table} of a strange project"
        for ledger in ledgers:
            ledger.check(found, read.__name__)
    return sum(rows.height for rows in found.values())


class LedgerSender:
    """Sends measurements and events of its own component and enters in the ledger what was acknowledged.

    Bodies reach over two months, so that half of the rows are older than the ones before; some are sent twice.

    Args:
        installation: Where to.
        name: Of the component.
        find_ledger: Returns the ledger of the project to send to; another one once the first project is deleted.
        gate: Passed with each delivery.
    """

    METRICS = ("level", "flow")
    ROWS = 60
    PAUSE_S = 0.02

    def __init__(self, installation, name, find_ledger, gate):
        self._installation = installation
        self._name = name
        self._find_ledger = find_ledger
        self._gate = gate
        self._rng = random.Random(name)  # noqa: S311 - reproducible, not secret
        self._sent = 0

    def run(self, stop):
        """Send until told to stop; the last body is acknowledged too."""
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not stop.is_set():
                with self._gate.passing():
                    self._deliver(client, self._find_ledger())
                stop.wait(self.PAUSE_S)

    def _deliver(self, client, ledger):
        table = self._rng.choice(["measurements", "measurements", "events"])
        media_type = self._rng.choice([ARROW, JSON])
        headers = {"Content-Type": media_type, "X-API-Key": ledger.key}
        with ledger.months.writing() as month:
            rows = self._rows(table, month)
            body = write(rows, media_type, SCHEMAS[table])
            for attempt in range(self._rng.choice([1, 1, 1, 2])):
                answer, _untold = send_until_answered(self._installation, client, body, headers, f"/v1/{table}")
                if answer.status_code in GONE and ledger.fate != "kept":
                    return
                assert answer.status_code == 201, f"{answer.text}\n{self._installation.crashes()}"
                receipt = answer.json()
                assert receipt["accepted"] + receipt["duplicates"] == len(rows), receipt
                if attempt == 0:
                    ledger.note(table, to_table(rows, SCHEMAS[table]))
                else:
                    assert receipt["duplicates"] == len(rows), receipt

    def _rows(self, table, month):
        """Return the next rows; each is told by its number."""
        first = self._sent
        self._sent += self.ROWS
        return [self._row(table, month, number) for number in range(first, self._sent)]

    def _row(self, table, month, number):
        moment = start_of(month + number % 2) + FIRST_DAYS + timedelta(milliseconds=number)
        if table == "events":
            return {"component": self._name, "kind": "tick", "occurred_at": moment, "body": f'{{"n":{number}}}'}
        metric = self.METRICS[number // 2 % 2]
        return {
            "component": self._name, "metric": metric, "measured_at": moment, "value": float(number), "quality": 0
        }  # fmt: skip
