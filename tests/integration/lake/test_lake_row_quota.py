"""Quotas of rows per day: held against groups, over restarts, and over midnight with a clock that goes back."""

import threading
from datetime import UTC, datetime

import pytest

from factories import measurement_batch
from gaugehouse.errors import Throttled
from gaugehouse.lake import Delivery, owner, sequencer
from gaugehouse.lake.groups import Waiting
from gaugehouse.limits import Quota

QUOTA = Quota(rows_per_day=3)
MIDNIGHT_US = round(datetime(2026, 11, 20, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE_US = 60_000_000


def delivery(*instants_us, quota=QUOTA):
    rows = [("a", "m", at_us, 1.0) for at_us in instants_us]
    return Delivery(batches={"measurements": measurement_batch(rows)}, quota=quota)


def test_a_delivery_without_a_quota_frees_none_that_goes_through_the_log_with_it(lake):
    waiting = [Waiting(delivery=one) for one in (delivery(1, 2, 3, 4), delivery(5, quota=Quota()))]
    lake._sequencer.log.wait_durable(lake._sequencer.write_group("p", waiting))
    held, free = waiting
    with pytest.raises(Throttled):
        held.result()
    assert free.result().accepted == 1


def test_threads_that_race_bring_exactly_the_quota(lake):
    outcomes = []

    def bring(number):
        try:
            outcomes.append(lake.append("p", delivery(number, quota=Quota(rows_per_day=20))).accepted)
        except Throttled:
            outcomes.append(0)

    threads = [threading.Thread(target=bring, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [0] * 20 + [1] * 20


def test_a_clock_that_went_back_over_midnight_begins_no_new_day(lakes, monkeypatch):
    now_us = MIDNIGHT_US + MINUTE_US
    for room in (owner, sequencer):
        monkeypatch.setattr(room, "now_us", lambda: now_us)
    lake = lakes.open()
    lake.append("p", delivery(1, 2, 3))
    lakes.crash(lake)
    now_us = MIDNIGHT_US - MINUTE_US
    lake = lakes.open()
    lake.recall_rows_of_day("p")
    with pytest.raises(Throttled):
        lake.append("p", delivery(4))
    now_us = MIDNIGHT_US + 25 * 60 * MINUTE_US
    assert lake.append("p", delivery(4)).accepted == 1
