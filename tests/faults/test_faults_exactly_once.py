"""Deliveries sent one to five times, in any order, at once and across kills: each counts once, and the first wins."""

import json
import random
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import httpx
import pytest

from faults.killing import SETTINGS, ask
from faults.ledgers import assert_readers_agree, read_delta
from functional.installation import wait_until
from functional.senders import START_US, send_until_answered
from gaugehouse.errors import Throttled, Unavailable
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us
from payloads import ARROW, JSON, write

SENDERS = 6
ROWS_A_BATCH = (3, 18)  # a receipt names at most twenty conflicts
KEYS_A_BATCH = 6  # on average new ones, so that most rows meet others of the same key
CONTRARY, KEYED, CROWDED = 0.1, 0.35, 0.2
STEP_US = 600_000_000  # ten thousand batches reach over two months
REPLAYED = "idempotency-replayed"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A delivery: rows of (component, metric, measured_at [us], value), always sent with the same bytes."""

    number: int
    rows: tuple
    media_type: str
    key: str | None

    @property
    def body(self):
        names = ("component", "metric", "measured_at", "value", "quality")
        moments = [(*row[:2], from_epoch_us(row[2]), row[3], 0) for row in self.rows]
        return write([dict(zip(names, row, strict=True)) for row in moments], self.media_type)

    @property
    def headers(self):
        return {"Content-Type": self.media_type} | ({"Idempotency-Key": self.key} if self.key else {})


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the sender of a batch was answered, and how many requests before may have been stored untold."""

    batch: Batch
    content: bytes
    is_replayed: bool
    untold: int

    @property
    def receipt(self):
        return json.loads(self.content)


def make_batches(count, rng):
    """Return batches over keys that they share; in one row of ten with another value."""
    instants = KEYS_A_BATCH * count // 16  # of 8 components with 2 metrics
    batches = []
    for number in range(count):
        rows = []
        for _ in range(rng.randint(*ROWS_A_BATCH)):
            component, metric, tick = rng.randrange(8), rng.choice("ab"), rng.randrange(instants)
            value = float(tick % 89) + (rng.randint(1, 3) / 4 if rng.random() < CONTRARY else 0.0)
            rows.append((f"c{component}", metric, START_US + STEP_US * tick, value))
        key = f"delivery-{number}" if rng.random() < KEYED else None
        batches.append(Batch(number=number, rows=tuple(rows), media_type=rng.choice([ARROW, JSON]), key=key))
    return batches


def plan(batches, rng):
    """Return the order of sending: each batch one to five times, some of them all at once."""
    groups = []
    for batch in batches:
        times = rng.randint(1, 5)
        groups += [[batch] * times] if rng.random() < CROWDED else [[batch]] * times
    rng.shuffle(groups)
    return [batch for group in groups for batch in group]


class Post:
    """Several senders that share one list of deliveries."""

    def __init__(self, installation, deliveries):
        self._installation = installation
        self._waiting = deque(deliveries)
        self.told = []

    def run(self):
        headers = {"X-API-Key": self._installation.key}
        with httpx.Client(timeout=60, trust_env=False, headers=headers) as client:
            while self._waiting:
                try:
                    batch = self._waiting.popleft()
                except IndexError:  # another sender was faster
                    return
                answer, untold = send_until_answered(self._installation, client, batch.body, batch.headers)
                assert answer.status_code == 201, answer.text
                is_replayed = answer.headers.get(REPLAYED) == "true"
                self.told.append(Told(batch=batch, content=answer.content, is_replayed=is_replayed, untold=untold))


def send_all(installation, deliveries, *, kills=0):
    """Send everything with several senders while the server is killed some times; return what was told."""
    post = Post(installation, deliveries)
    with ThreadPoolExecutor(SENDERS) as pool:
        runs = [pool.submit(post.run) for _ in range(SENDERS)]
        for kill in range(kills):
            enough = (kill + 1) * len(deliveries) // (kills + 1)
            wait_until(
                lambda: len(post.told) >= enough or all(run.done() for run in runs),  # noqa: B023 - used at once
                timeout_s=300,
                poll_s=0.001,
                what="the moment for a kill",
            )
            installation.kill()
            installation.start()
        for run in runs:
            run.result()
    return post.told


def keep_merging(installation, stop):
    """Ask for merges all the time, whatever happens to the server."""
    while not stop.wait(0.1):
        try:
            ask(installation, "compact")
        except (Unavailable, Throttled):
            time.sleep(0.05)


# --- what must be so ---


def refusals_of(told):
    """Return {row: value that stands} of the conflicts that a receipt names."""
    return {
        (row["component"], row["metric"], to_epoch_us(datetime.fromisoformat(row["measured_at"])), row["refused_value"]):
            row["stored_value"]
        for row in told.receipt["conflict_rows"]
    }  # fmt: skip


def assert_first_acknowledged_stands(all_told, stored):
    """Check every receipt against the table: each says of each of its keys which value stands.

    Who was told that a row is accepted, or known, was told its own value; of a conflict the receipt names the value. So
    whatever was acknowledged first must be what every later receipt says, and what is stored.
    """
    for told in all_told:
        refusals, receipt = refusals_of(told), told.receipt
        assert receipt["accepted"] + receipt["duplicates"] + receipt["conflicts"] == len(told.batch.rows), receipt
        assert receipt["conflicts"] == sum(row in refusals for row in told.batch.rows)
        assert refusals.keys() <= set(told.batch.rows)
        for row in told.batch.rows:
            assert stored[row[:3]] == refusals.get(row, row[3]), (row, receipt)


def assert_receipts_add_up(all_told, rows):
    """Check that as many rows were called accepted as are stored, but for requests whose answer was lost.

    Of a delivery with an Idempotency-Key every answer is the first one: it counts once, and no answer is lost.
    """
    receipts = {told.batch.key or number: told.receipt for number, told in enumerate(all_told)}.values()
    accepted, stored = Counter(), Counter(rows["received_at"].to_list())
    for receipt in receipts:
        if receipt["accepted"]:
            accepted[to_epoch_us(datetime.fromisoformat(receipt["received_at"]))] += receipt["accepted"]
    too_many = {stamp: count for stamp, count in accepted.items() if count > stored[stamp]}
    assert not too_many, f"rows called accepted that are not there: {too_many}"
    untold = sum(told.untold * len(told.batch.rows) for told in all_told if told.batch.key is None)
    assert rows.height - untold <= sum(accepted.values()) <= rows.height


def assert_conflicts_are_events_once(all_told, events):
    """Check that each acknowledged conflict is told by one event, and that there are no others."""
    expected = {
        (component, metric, t, stood, refused)
        for told in all_told
        for (component, metric, t, refused), stood in refusals_of(told).items()
    }
    found = []
    for component, kind, t, body in events.select("component", "topic", "t", "payload").rows():
        said = json.loads(body)
        assert kind == "conflict"
        assert to_epoch_us(datetime.fromisoformat(said["measured_at"])) == t
        found.append((component, said["metric"], t, said["stored_value"], said["refused_value"]))
    assert sorted(found) == sorted(expected)
    return len(expected)


def assert_keys_are_answered_once(all_told):
    """Check that all answers under an Idempotency-Key are the same bytes, one of them at most the first."""
    answers = {}
    for told in all_told:
        if told.batch.key is not None:
            answers.setdefault(told.batch.key, []).append(told)
    for key, several in answers.items():
        assert len({told.content for told in several}) == 1, key
        assert sum(not told.is_replayed for told in several) <= 1, key
    return {key: several[0].content for key, several in answers.items()}


def assert_keys_are_remembered(installation, batches, answers):
    """Check that each delivery with an Idempotency-Key gets its stored receipt, now that all is over."""
    keyed = [batch for batch in batches if batch.key is not None]
    for told in send_all(installation, keyed):
        assert told.is_replayed
        assert told.content == answers[told.batch.key]


@pytest.mark.parametrize(
    ("batch_count", "kills"),
    [(200, 2), pytest.param(10_000, 40, marks=[pytest.mark.torture, pytest.mark.timeout(3600)])],
    ids=["few", "many"],
)
def test_what_is_acknowledged_first_stands_and_counts_once_however_often_it_is_sent(found, batch_count, kills, tally):
    rng = random.Random(batch_count)  # noqa: S311 - reproducible, not secret
    installation = found(SETTINGS).start()
    batches = make_batches(batch_count, rng)
    stop = threading.Event()
    merging = threading.Thread(target=keep_merging, args=(installation, stop))
    merging.start()
    try:
        all_told = send_all(installation, plan(batches, rng), kills=kills)
        answers = assert_keys_are_answered_once(all_told)
        assert_keys_are_remembered(installation, batches, answers)
    finally:
        stop.set()
        merging.join()
    installation.stop_in_any_state()
    lake_dir = installation.data_dir / "lake"
    rows, events = read_delta(lake_dir, "measurements"), read_delta(lake_dir, "events")
    stored = {row[:3]: row[3] for row in rows.select("component", "topic", "t", "payload").rows()}
    assert len(stored) == rows.height, "a key is stored twice"
    assert stored.keys() == {row[:3] for batch in batches for row in batch.rows}
    assert_first_acknowledged_stands(all_told, stored)
    assert_receipts_add_up(all_told, rows)
    conflicts = assert_conflicts_are_events_once(all_told, events)
    assert_readers_agree(lake_dir)
    assert conflicts
    tally["batches sent one to five times"] += batch_count
    tally["deliveries of those batches"] += len(all_told)
    tally["requests whose answer a kill cut off"] += sum(told.untold for told in all_told)
    tally["kills during repeated batches"] += kills
    tally["conflicts, each one event"] += conflicts
    tally["Idempotency-Keys, each one answer"] += len(answers)
