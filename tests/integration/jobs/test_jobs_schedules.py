"""Schedules: every fire time once, whoever ticks and whatever dies."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, func, select, update

from gaugehouse.database import Database
from gaugehouse.database.tables import Job, ScheduleFire
from gaugehouse.database.tables import Schedule as Row
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.inventory import delete_project, ensure_default_project
from gaugehouse.jobs import (
    CatchUp,
    ScheduleWishes,
    create_schedule,
    delete_schedule,
    find_schedules,
    get_schedule,
    parse_recurrence,
    pause_schedule,
    replace_schedule,
    resume_schedule,
    schedules,
    tick,
)

T0 = datetime(2026, 3, 27, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
BERLIN = "every day 02:30 Europe/Berlin"


@pytest.fixture
def project_id(database):
    with database.transaction() as session:
        return ensure_default_project(session).id


@pytest.fixture
def make(database, project_id):
    """Create a schedule; return its id."""

    def call(text=BERLIN, *, name="nightly", now=T0, **wanted):
        wishes = ScheduleWishes(kind="count", payload={"n": 1}, recurrence=parse_recurrence(text), **wanted)
        with database.transaction() as session:
            made = create_schedule(session, project_id=project_id, name=name, author="anna", wishes=wishes, now=now)
        return made.id

    return call


def change(database, project_id, do, name="nightly", **options):
    with database.transaction() as session:
        return do(session, project_id=project_id, name=name, **options)


def fires(database, schedule_id):
    """Return (fire time, job, skipped) in order."""
    statement = select(ScheduleFire).where(ScheduleFire.schedule_id == schedule_id).order_by(ScheduleFire.fire_at)
    with database.reading() as session:
        return [(row.fire_at, row.job_id, row.skipped) for row in session.scalars(statement)]


def fired(database, schedule_id):
    """Return the fire times that have a job, and check that jobs and fire times are the same."""
    found = fires(database, schedule_id)
    with database.reading() as session:
        jobs = list(session.scalars(select(Job).where(Job.subject_id == schedule_id)))
    assert sorted(job.id for job in jobs) == sorted(job_id for _, job_id, _ in found if job_id is not None)
    times = sorted(datetime.fromisoformat(job.payload["schedule"]["fire_at"]) for job in jobs)
    assert times == [at for at, job_id, _ in found if job_id is not None]
    assert len(set(times)) == len(times)
    return times


def next_at(database, project_id, name="nightly"):
    with database.reading() as session:
        return get_schedule(session, project_id=project_id, name=name).next_at


# --- the simulated clock ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (datetime(2026, 3, 27, 12, tzinfo=UTC), ["03-28 01:30", "03-29 01:00", "03-30 00:30", "03-31 00:30"]),
        (datetime(2026, 10, 23, 12, tzinfo=UTC), ["10-24 00:30", "10-25 00:30", "10-26 01:30", "10-27 01:30"]),
    ],
)
def test_over_both_changes_of_the_clocks_every_night_is_due_once(database, make, start, expected):
    schedule_id = make(now=start)
    for step in range(4 * 24 * 4):
        tick(database, now=start + step * timedelta(minutes=15))
    assert [f"{at:%m-%d %H:%M}" for at in fired(database, schedule_id)] == expected


def test_a_job_knows_its_fire_time_and_for_whom_it_runs(database, make, project_id):
    schedule_id = make()
    (one,) = tick(database, now=T0 + DAY)
    with database.reading() as session:
        job = session.get(Job, one.job_id)
    assert (job.kind, job.project_id, job.subject_id, job.status) == ("count", project_id, schedule_id, "queued")
    occasion = {"id": schedule_id, "name": "nightly", "author": "anna", "fire_at": "2026-03-28T01:30:00+00:00"}
    assert job.payload == {"n": 1, "schedule": occasion}


def test_nothing_is_due_before_its_time_and_nothing_twice(database, make):
    schedule_id = make()
    due = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    assert tick(database, now=due - timedelta(microseconds=1)) == []
    assert len(tick(database, now=due)) == 1
    assert tick(database, now=due) == []
    assert fired(database, schedule_id) == [due]


def test_the_databases_clock_is_used_without_another(database, make):
    schedule_id = make("every day 00:00 UTC", now=datetime.now(UTC) - 2 * DAY)
    assert len(tick(database)) == 1
    assert fired(database, schedule_id) == [datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC)]


# --- catching up ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"catch_up": CatchUp.LATEST}, [(5, True, 4)]),
        ({"catch_up": CatchUp.ALL}, [(1, True, 0), (2, True, 0), (3, True, 0), (4, True, 0), (5, True, 0)]),
        ({"catch_up": CatchUp.ALL, "catch_up_limit": 2}, [(4, True, 3), (5, True, 0)]),
        ({"catch_up": CatchUp.NONE}, [(5, False, 4)]),
    ],
)
def test_missed_fire_times_are_caught_up_with_as_wished(database, make, wanted, expected):
    start = datetime(2026, 5, 1, tzinfo=UTC)
    schedule_id = make("every day 00:00 UTC", now=start, **wanted)
    tick(database, now=start + 5 * DAY + HOUR)
    found = fires(database, schedule_id)
    assert [((at - start).days, job_id is not None, skipped) for at, job_id, skipped in found] == expected
    fired(database, schedule_id)
    assert [one.fire_at for one in tick(database, now=start + 6 * DAY)] == [start + 6 * DAY]


def test_with_none_a_fire_time_that_is_a_little_late_is_not_missed(database, make):
    start = datetime(2026, 5, 1, tzinfo=UTC)
    schedule_id = make("every day 00:00 UTC", now=start, catch_up=CatchUp.NONE)
    tick(database, now=start + DAY + timedelta(minutes=4))
    assert fired(database, schedule_id) == [start + DAY]


def test_a_year_of_missed_hours_is_one_job(database, make):
    schedule_id = make("hourly at :15 Europe/Berlin", now=datetime(2025, 1, 1, tzinfo=UTC))
    tick(database, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert fires(database, schedule_id)[0][2] == 365 * 24 - 1
    assert fired(database, schedule_id) == [datetime(2025, 12, 31, 23, 15, tzinfo=UTC)]


# --- pause, change, delete --------------------------------------------------------------------------------------------


def test_a_paused_schedule_rests_and_what_it_missed_is_not_made_up_for(database, make, project_id):
    schedule_id = make()
    paused = change(database, project_id, pause_schedule)
    assert paused.paused_at is not None
    assert change(database, project_id, pause_schedule) == paused
    assert tick(database, now=T0 + 3 * DAY) == []
    resumed = change(database, project_id, resume_schedule, now=T0 + 3 * DAY)
    assert (resumed.paused_at, resumed.next_at) == (None, datetime(2026, 3, 31, 0, 30, tzinfo=UTC))
    tick(database, now=T0 + 4 * DAY)
    assert fired(database, schedule_id) == [datetime(2026, 3, 31, 0, 30, tzinfo=UTC)]


def test_a_changed_schedule_counts_from_the_change(database, make, project_id):
    schedule_id = make()
    wishes = ScheduleWishes(kind="count", payload={"n": 2}, recurrence=parse_recurrence("every day 18:00 UTC"))
    changed = change(database, project_id, replace_schedule, author="ben", wishes=wishes, now=T0 + 2 * DAY)
    assert (changed.author, changed.version, changed.next_at) == ("ben", 2, T0 + 2 * DAY + 6 * HOUR)
    tick(database, now=T0 + 3 * DAY)
    assert fired(database, schedule_id) == [T0 + 2 * DAY + 6 * HOUR]


def test_a_tick_that_has_seen_a_schedule_before_its_change_does_nothing(database, make, project_id):
    schedule_id = make()
    with database.reading() as session:
        seen = get_schedule(session, project_id=project_id, name="nightly")
    wishes = ScheduleWishes(kind="other", payload={}, recurrence=parse_recurrence(BERLIN))
    change(database, project_id, replace_schedule, author="ben", wishes=wishes, now=T0)
    assert schedules._fire(database, seen, T0 + DAY) == []
    paused = change(database, project_id, pause_schedule)
    assert schedules._fire(database, replace(paused, paused_at=None), T0 + DAY) == []
    assert fires(database, schedule_id) == []


def test_a_clock_that_is_set_back_repeats_no_fire_time(database, make, project_id):
    schedule_id = make()
    tick(database, now=T0 + DAY)
    wishes = ScheduleWishes(kind="count", payload={}, recurrence=parse_recurrence(BERLIN))
    change(database, project_id, replace_schedule, author="anna", wishes=wishes, now=T0)
    assert tick(database, now=T0 + DAY) == []
    assert fired(database, schedule_id) == [datetime(2026, 3, 28, 1, 30, tzinfo=UTC)]
    assert next_at(database, project_id) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_a_schedule_whose_zone_is_gone_is_paused_and_others_go_on(database, make, project_id):
    broken, healthy = make(name="broken"), make(name="healthy")
    with database.transaction() as session:
        session.execute(update(Row).where(Row.id == broken).values(timezone="Mars/Olympus"))
    assert [one.schedule_id for one in tick(database, now=T0 + DAY)] == [healthy]
    with database.reading() as session:
        seen = get_schedule(session, project_id=project_id, name="broken")
    assert seen.paused_at is not None
    assert "Mars/Olympus" in seen.paused_reason
    with pytest.raises(Refused, match="Mars/Olympus"):
        change(database, project_id, resume_schedule, name="broken", now=T0)


def test_names_are_unique_in_a_project(database, make, project_id):
    make()
    with pytest.raises(AlreadyExists) as caught:
        make()
    assert caught.value.code == "schedule_exists"


@pytest.mark.parametrize(("name", "wanted"), [("", {}), (" x", {}), ("nightly", {"catch_up_limit": 0})])
def test_what_cannot_be_a_schedule_is_refused(make, name, wanted):
    with pytest.raises(Refused):
        make(name=name, **wanted)


@pytest.mark.parametrize("name", ["nobody", "a\0b", "\ud800"])
def test_a_schedule_that_does_not_exist_is_not_found(database, project_id, name):
    for do in (pause_schedule, delete_schedule, get_schedule):
        with pytest.raises(NotFound):
            change(database, project_id, do, name=name)


def test_deleting_a_schedule_or_its_project_deletes_its_history(database, make, project_id):
    make(name="one")
    make(name="two")
    tick(database, now=T0 + DAY)
    change(database, project_id, delete_schedule, name="one")
    with database.reading() as session:
        assert [one.name for one in find_schedules(session, project_id=project_id, kind="count")] == ["two"]
        assert session.scalar(select(func.count()).select_from(ScheduleFire)) == 1
    with database.transaction() as session:
        delete_project(session, "default")
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(ScheduleFire)) == 0


# --- crashes and company ----------------------------------------------------------------------------------------------


class PowerCut(BaseException):
    """The process dies here: nothing catches it."""


@contextmanager
def cut_before(database, number, monkeypatch):
    """Cut the power before the numbered statement or commit of writing transactions; give those that were begun."""
    seen = []
    do_commit = database.engine.dialect.do_commit

    def look():
        seen.append(1)
        if len(seen) == number:
            raise PowerCut

    def look_at_statement(_connection, _cursor, statement, *_rest):
        if not statement.startswith(("SELECT", "PRAGMA", "BEGIN")):
            look()

    def look_at_commit(connection):
        try:
            look()
        except PowerCut:
            connection.rollback()  # what the next start of the database does
            raise
        do_commit(connection)

    event.listen(database.engine, "before_cursor_execute", look_at_statement)
    with monkeypatch.context() as patched:
        patched.setattr(database.engine.dialect, "do_commit", look_at_commit)
        yield seen
    event.remove(database.engine, "before_cursor_execute", look_at_statement)


def test_wherever_a_tick_dies_nothing_is_lost_and_nothing_is_done_twice(database, make, project_id, monkeypatch):
    start = datetime(2026, 5, 1, tzinfo=UTC)
    schedule_id = make("every day 00:00 UTC", now=start, catch_up=CatchUp.ALL)
    cuts = 0
    while True:
        with cut_before(database, cuts + 1, monkeypatch) as seen, suppress(PowerCut):
            tick(database, now=start + 3 * DAY)
        if len(seen) == cuts:
            break
        cuts += 1
        assert fires(database, schedule_id) == []
        assert next_at(database, project_id) == start + DAY
    assert cuts >= 6  # the move, three jobs, their fire times, the commit
    assert fired(database, schedule_id) == [start + n * DAY for n in (1, 2, 3)]
    assert next_at(database, project_id) == start + 4 * DAY


def test_any_number_of_tickers_make_one_job_for_each_fire_time(database, database_url, make):
    ids = [make(f"hourly at :{minute:02} UTC", name=f"s{minute}", catch_up=CatchUp.ALL) for minute in range(8)]
    days = 2
    barrier = threading.Barrier(4)

    def run(own):
        barrier.wait()
        for hours in range(0, days * 24 + 1, 5):
            tick(own, now=T0 + hours * HOUR)
        tick(own, now=T0 + days * DAY)

    owns = [Database.open(database_url) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(run, owns[number % 2]) for number in range(4)]:
            done.result()
    for own in owns:
        own.dispose()
    for minute, schedule_id in enumerate(ids):
        first = T0 + timedelta(minutes=minute) + (HOUR if minute == 0 else timedelta())
        expected = [first + n * HOUR for n in range(days * 24)]
        assert fired(database, schedule_id) == [at for at in expected if at <= T0 + days * DAY], minute


def test_a_defect_that_one_schedule_meets_keeps_no_other_from_its_time(database, make, monkeypatch):
    broken, healthy = make("every day 00:00 UTC", name="broken"), make("every day 01:00 UTC", name="healthy")
    plan = schedules.plan_fires

    def fail_once(*arguments, **options):
        monkeypatch.setattr(schedules, "plan_fires", plan)
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(schedules, "plan_fires", fail_once)
    assert [one.schedule_id for one in tick(database, now=T0 + DAY)] == [healthy]
    assert [one.schedule_id for one in tick(database, now=T0 + DAY)] == [broken]


def test_ticking_goes_on_after_whatever_happened(database, make, monkeypatch):
    schedule_id = make("every day 00:00 UTC", now=datetime.now(UTC) - 2 * DAY)
    stop, calls = threading.Event(), []

    def fail_once(db):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("nobody foresaw this")
        found = tick(db)
        stop.set()
        return found

    monkeypatch.setattr(schedules, "tick", fail_once)
    schedules.keep_ticking(database, stop=stop, tick_s=0.01)
    assert len(fired(database, schedule_id)) == 1
