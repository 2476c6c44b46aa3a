import pytest

from gaugehouse.jobs import Control, JobCancelled, JobInterrupted, JobLost


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
    return Control(lambda percent, doing: reported.append((percent, doing)), clock)


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
