import threading
import time

import duckdb
import pytest

from gaugehouse.errors import Unavailable
from gaugehouse.lake.engine import Engine

LONG = "SELECT count(*) FROM range(1000000000000) AS a(x) WHERE x % 7 = 3"


def test_a_question_that_runs_is_broken_off_and_none_follows(tmp_path):
    engine = Engine(tmp_path)
    idle = engine.cursor()
    closed = engine.cursor()
    closed.close()
    cursor, failures = engine.cursor(), []

    def ask():
        try:
            cursor.execute(LONG)
        except duckdb.Error as exc:
            failures.append(exc)

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive():  # the question may not have begun at the first call
        engine.interrupt()
        time.sleep(0.01)
    asking.join()
    assert isinstance(failures[0], duckdb.InterruptException)
    for refused in (engine.cursor, engine.check):
        with pytest.raises(Unavailable, match="broken off"):
            refused()
    del idle


def test_an_engine_that_nobody_interrupts_goes_on(tmp_path):
    engine = Engine(tmp_path)
    engine.check()
    assert engine.cursor().execute("SELECT 1").fetchall() == [(1,)]
