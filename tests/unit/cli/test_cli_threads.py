"""Threads of the server that must never end unnoticed: retention, and who keeps the worker alive."""

import threading
from types import SimpleNamespace

import pytest

from gaugehouse.cli import serving, supervising
from gaugehouse.cli.supervising import Worker


@pytest.fixture
def retention(monkeypatch):
    """Call with what `retain` raises each time; give the event of the third call."""

    def start(error):
        calls, third = [], threading.Event()

        def retain():
            calls.append(1)
            if len(calls) == 3:
                third.set()
            raise error

        monkeypatch.setattr(serving, "RETENTION_FIRST_S", 0.01)
        monkeypatch.setattr(serving, "RETENTION_PERIOD_S", 0.01)
        return serving._retention(SimpleNamespace(retain=retain)), third

    return start


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("nobody foresaw this")])
def test_retention_goes_on_after_whatever_happened(retention, error):
    running, third = retention(error)
    with running:
        assert third.wait(10)


def test_retention_begins_soon_after_the_start(monkeypatch):
    called = threading.Event()
    monkeypatch.setattr(serving, "RETENTION_FIRST_S", 0.01)
    with serving._retention(SimpleNamespace(retain=called.set)):
        assert called.wait(10)
    assert serving.RETENTION_PERIOD_S == 3600.0


def test_asking_for_scheduled_reports_goes_on_after_whatever_happened(monkeypatch):
    calls, third = [], threading.Event()

    def run_worker(*_arguments, stop, **_options):
        calls.append(1)
        if len(calls) == 3:
            third.set()
            stop.wait(10)
            return
        stop.set()  # as run_worker does when one of its threads meets a defect
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(serving, "run_worker", run_worker)
    monkeypatch.setattr(serving, "ASK_POLL_S", 0.01)
    monkeypatch.setattr(serving, "keep_ticking", lambda _database, stop: stop.wait(10))
    sizes = {"report_cells_limit": 1, "report_max_rows": 1, "report_jobs_waiting": 1}
    settings = SimpleNamespace(**sizes, lease_s=1.0, reissue_s=60.0)
    with serving._schedules(SimpleNamespace(database=None, lake=None, settings=settings)):
        assert third.wait(10)
    assert len(calls) == 3


class FakeProcess:
    """A worker that dies at once."""

    def wait(self):
        return 1

    def terminate(self):
        return None

    def poll(self):
        return 1


@pytest.fixture
def watched(monkeypatch, tmp_path):
    """Start workers by a function of the attempt's number; return the pauses before six further attempts."""

    def watch(start, clock=lambda: 0.0):
        pauses, attempts, done = [], [], threading.Event()
        worker = Worker(data_dir=tmp_path, number=0)

        def popen(_command, **_options):
            attempts.append(1)
            return start(len(attempts))

        def pause(seconds):
            pauses.append(seconds)
            if len(pauses) == 6:
                done.set()
                worker._stopping.set()

        monkeypatch.setattr(supervising.subprocess, "Popen", popen)
        monkeypatch.setattr(supervising, "time", SimpleNamespace(monotonic=clock))
        monkeypatch.setattr(worker._stopping, "wait", pause)
        with worker:
            assert done.wait(10)
        return pauses

    return watch


def test_a_worker_that_keeps_dying_is_started_later_and_later(watched):
    assert watched(lambda _attempt: FakeProcess()) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_worker_that_lived_long_enough_is_started_again_soon(watched):
    times_s = iter([0.0, 1.0, 10.0, 11.0, 20.0, 90.0, 100.0, 101.0, 110.0, 111.0, 120.0, 121.0])
    assert watched(lambda _attempt: FakeProcess(), lambda: next(times_s)) == [0.5, 1.0, 0.5, 1.0, 2.0, 4.0]


def test_a_worker_that_could_not_be_started_is_tried_again(watched):
    def start(attempt):
        if attempt <= 3:
            raise OSError(11, "Resource temporarily unavailable")
        return FakeProcess()

    assert watched(start) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
