import threading

import pytest

from gaugehouse.jobs import Control, JobCancelled, JobInterrupted, JobLost, Pace


class _Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def reported():
    return []


@pytest.fixture
def clock():
    return _Clock()


@pytest.fixture
def control(reported, clock):
    return Control(lambda progress: reported.append((progress.percent, progress.doing)), clock)


@pytest.mark.parametrize(
    ("cause", "exception"), [("cancelled", JobCancelled), ("lost", JobLost), ("interrupted", JobInterrupted)]
)
def test_a_stopped_run_learns_the_cause(control, reported, cause, exception):
    control.check()
    control.progress(1, "reading")
    assert not control.cancelled
    assert control.stop(cause)
    assert control.cancelled
    for look in (control.check, lambda: control.progress(2, "computing")):
        with pytest.raises(exception):
            look()
    assert reported == [(1, "reading")]


def test_the_first_cause_stands(control):
    assert control.stop("cancelled")
    assert not control.stop("lost")
    assert control.cause == "cancelled"


def test_callbacks_are_called_once_at_the_stop_or_at_once_after_it(control):
    called = []
    control.on_cancel(lambda: called.append("before"))
    control.stop("lost")
    control.stop("cancelled")
    control.on_cancel(lambda: called.append("after"))
    assert called == ["before", "after"]


def test_late_news_do_not_touch_a_run_that_is_over(control):
    called = []
    control.on_cancel(lambda: called.append("late"))
    control.close()
    assert not control.stop("lost")
    assert (called, control.cause) == ([], None)


def test_progress_is_stored_twice_a_second_at_most_but_new_doings_always(control, reported, clock):
    for percent in range(10):
        control.progress(percent, "reading")
        clock.now_s += 0.1
    control.progress(50, "computing")
    assert reported == [(0, "reading"), (5, "reading"), (50, "computing")]


def test_work_in_a_thread_of_its_own_is_answered_or_raises_as_in_place(control):
    assert control.run(lambda: threading.current_thread().name != "MainThread")
    with pytest.raises(ZeroDivisionError):
        control.run(lambda: 1 / 0)


def test_work_that_goes_on_is_left_behind_when_the_run_shall_stop(control):
    began, go_on, learned = threading.Event(), threading.Event(), []

    def work():
        began.set()
        go_on.wait(30)
        try:
            control.check()
        except JobCancelled:
            learned.append("left behind")

    def cancel():
        began.wait(30)
        control.stop("cancelled")

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(JobCancelled):
        control.run(work)
    assert not learned  # it is at its work yet
    control.close()
    go_on.set()
    for thread in threading.enumerate():
        if thread.name.endswith("-working"):
            thread.join(30)
    canceller.join()
    assert learned == ["left behind"]


def test_work_is_not_begun_when_the_run_shall_stop(control):
    begun = []
    control.stop("interrupted")
    with pytest.raises(JobInterrupted):
        control.run(lambda: begun.append(1))
    assert not begun


def test_the_pace_tells_how_long_the_rest_takes(clock):
    pace = Pace(clock)
    assert pace.find_remaining_s(10) is None  # the first look
    clock.now_s = 0.5
    assert pace.find_remaining_s(20) is None  # too early to say
    clock.now_s = 4.0
    assert pace.find_remaining_s(10) is None  # nothing was done
    assert pace.find_remaining_s(30) == pytest.approx(14.0)  # 20 per cent took 4 s, 70 are left
    assert pace.find_remaining_s(100) == 0
