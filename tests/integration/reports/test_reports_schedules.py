"""Templates and schedules, from the calendar to the report."""

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import select, update

from gaugehouse import reports
from gaugehouse.access import Caller, Scope
from gaugehouse.database.tables import Job, ReportTemplate, WebhookSecret
from gaugehouse.errors import AlreadyExists, NotFound, PeriodRefused, Refused, Unavailable
from gaugehouse.inventory import create_project, delete_project, update_metric
from gaugehouse.jobs import CatchUp, Control, JobLost, claim, tick
from gaugehouse.jobs import fail as fail_job
from gaugehouse.reports import (
    SCHEDULE_KIND,
    Asker,
    KpiTarget,
    Reach,
    ReportRequest,
    ReportScheduleWishes,
    TemplateDefinition,
    WebhookDestination,
    ask_scheduled,
)

WEEKLY = TemplateDefinition(
    title="Pumps, weekly",
    request=ReportRequest(period="last_week", timezone="Europe/Berlin", kpis=("mean", "count")),
    formats=("csv",),
    targets={"mean": KpiTarget(upper=40.0)},
)
REACH = Reach(has_mail=True, has_folder=True)
MONDAYS = "every Monday 06:00 Europe/Berlin"
FRIDAY = datetime(2026, 3, 27, 12, tzinfo=UTC)  # before the Sunday on which Berlin's clocks are set forward
MONDAY = datetime(2026, 3, 30, 4, tzinfo=UTC)  # 06:00 summer time
DAY = timedelta(days=1)


@pytest.fixture
def temperatures(plant):
    """A row an hour in March 2026, the value is the day of the month in UTC."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [start + timedelta(hours=n) for n in range(31 * 24)]
    plant.deliver([("pump-1", "temperature", at, float(at.day)) for at in rows])
    plant.lake.flush()


def save(plant, definition=WEEKLY, *, name="weekly", secrets=None, change=False, caller=None):
    do = reports.replace_template if change else reports.create_template
    with plant.database.transaction() as session:
        return do(session, caller or plant.manager, name, definition, secrets=secrets or {}, reach=REACH)


def schedule(plant, recurrence=MONDAYS, *, name="mondays", now=FRIDAY, **wanted):
    wishes = ReportScheduleWishes(template="weekly", recurrence=recurrence, **wanted)
    with plant.database.transaction() as session:
        return reports.create_report_schedule(session, plant.manager, name, wishes, now=now)


def asker(plant):
    return Asker(database=plant.database, source=plant.lake, cells_limit=100_000)


def take(plant):
    return claim(plant.database, worker="asking", kinds={SCHEDULE_KIND}, lease_s=30.0)


def ask_all(plant):
    """Run the jobs that ask, as the server does; return how many there were."""
    count = 0
    while (job := take(plant)) is not None:
        count += 1
        try:
            ask_scheduled(job, Control(lambda _progress: None), asker=asker(plant))
        except (Refused, NotFound) as exc:
            fail_job(plant.database, job, exc.message, retry=False)
    return count


def history(plant, name="mondays"):
    with plant.database.reading() as session:
        return reports.list_fires(session, plant.manager, name).items


def all_reports(plant):
    with plant.database.reading() as session:
        return reports.list_reports(session, plant.manager).items


@contextmanager
def reading(plant):
    with plant.database.reading() as session:
        yield partial_of(session, plant.manager)


def partial_of(session, caller):
    return lambda do, *arguments, **options: do(session, caller, *arguments, **options)


# --- templates --------------------------------------------------------------------------------------------------------


def test_a_template_is_kept_and_every_change_is_a_version(plant):
    first = save(plant)
    assert (first.name, first.version, first.owner, first.formats) == ("weekly", 1, "manager", ("csv",))
    ben = replace(plant.manager, name="ben")
    second = save(plant, replace(WEEKLY, title="Pumps"), change=True, caller=ben)
    assert (second.version, second.owner, second.author, second.title) == (2, "manager", "ben", "Pumps")
    with reading(plant) as see:
        assert see(reports.get_template, "weekly") == second
        assert [one.title for one in see(reports.list_versions, "weekly")] == ["Pumps", "Pumps, weekly"]
        assert see(reports.list_templates) == [second]


def test_names_are_unique_in_a_project_and_free_after_a_deletion(plant):
    first = save(plant)
    with pytest.raises(AlreadyExists) as caught:
        save(plant)
    assert caught.value.code == "template_exists"
    with plant.database.transaction() as session:
        reports.delete_template(session, plant.manager, "weekly")
    with reading(plant) as see:
        assert see(reports.list_templates) == []
        with pytest.raises(NotFound):
            see(reports.get_template, "weekly")
    assert save(plant).id != first.id


@pytest.mark.parametrize("name", ["nobody", "Weekly", "a\0b", "\ud800"])
def test_a_template_that_does_not_exist_is_not_found(plant, name):
    for do in (reports.get_template, reports.list_versions, reports.delete_template):
        with pytest.raises(NotFound), plant.database.transaction() as session:
            do(session, plant.manager, name)
    with pytest.raises(NotFound):
        save(plant, name=name, change=True)


def test_templates_and_schedules_of_another_project_are_not_seen(plant):
    save(plant)
    schedule(plant)
    with plant.database.transaction() as session:
        other = create_project(session, "other")
    stranger = Caller(
        kind="user", name="eve", project="other", project_id=other.id, scopes=frozenset({Scope.USER, Scope.MANAGER})
    )
    save(plant, name="own", caller=stranger)
    with plant.database.reading() as session:
        assert [one.name for one in reports.list_templates(session, stranger)] == ["own"]
        assert reports.list_report_schedules(session, stranger) == []
        for do, name in ((reports.get_template, "weekly"), (reports.get_report_schedule, "mondays")):
            with pytest.raises(NotFound):
                do(session, stranger, name)


def test_a_template_that_a_schedule_uses_is_not_deleted(plant):
    save(plant)
    schedule(plant)
    with pytest.raises(AlreadyExists, match="mondays") as caught, plant.database.transaction() as session:
        reports.delete_template(session, plant.manager, "weekly")
    assert caught.value.code == "template_in_use"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"period": "someday"}, PeriodRefused),
        ({"timezone": "Mars/Olympus"}, PeriodRefused),
        ({"kpis": ("happiness",)}, Refused),
        ({"components": ("nobody",)}, NotFound),
        ({"metrics": ("nothing",)}, NotFound),
        ({"bucket": "fortnight"}, PeriodRefused),
    ],
)
def test_a_question_that_could_not_be_asked_is_refused_before_it_is_saved(plant, change, error):
    with plant.database.reading() as session:
        check = partial(reports.check_question, session, plant.manager, now=FRIDAY, cells_limit=1000)
        check(WEEKLY.request)
        with pytest.raises(error):
            check(replace(WEEKLY.request, **change))


def test_a_webhook_needs_a_secret_keeps_it_and_shows_it_to_nobody(plant):
    url = "https://hooks.example.com/T00/token"
    hooked = replace(WEEKLY, destinations=(WebhookDestination(url=url),))
    for wrong in ({}, {url: "short"}, {url: "not ASCII: ä" * 3}, {url: "line\nbreak" * 3}):
        with pytest.raises(Refused, match=r"destinations\.0\.secret"):
            save(plant, hooked, secrets=wrong)
    secret = "sixteen characters and more"
    views = [save(plant, hooked, secrets={url: secret}), save(plant, hooked, change=True)]
    with plant.database.reading() as session:
        assert session.scalars(select(WebhookSecret.secret)).all() == [secret]
        views += reports.list_versions(session, plant.manager, "weekly")
    assert secret not in repr(views)
    with pytest.raises(Refused, match="secret"):
        save(plant, replace(hooked, destinations=(WebhookDestination(url=url + "2"),)), change=True)
    save(plant, hooked, change=True, secrets={url: "another one of them"})
    with plant.database.reading() as session:
        assert session.scalars(select(WebhookSecret.secret)).all() == ["another one of them"]


def test_a_report_is_asked_for_by_template_and_says_so(plant, temperatures):
    save(plant)
    view = reports.request_templated(asker(plant), plant.manager, "weekly", period="2026-W12")
    assert (view.template, view.template_version, view.deliveries) == ("weekly", 1, ())
    assert view.request["period"] == "2026-W12"
    assert (view.period_start, view.timezone) == (datetime(2026, 3, 15, 23, tzinfo=UTC), "Europe/Berlin")
    own = reports.request_templated(asker(plant), plant.manager, "weekly")
    assert own.request["period"] == "last_week"
    assert all(one.template == "weekly" for one in all_reports(plant))
    with pytest.raises(NotFound):
        reports.request_templated(asker(plant), plant.manager, "nobody")


def test_a_deleted_project_takes_its_templates_along(plant):
    save(plant)
    schedule(plant)
    with plant.database.transaction() as session:
        delete_project(session, "default")
    with plant.database.reading() as session:
        assert session.scalars(select(ReportTemplate.id)).all() == []


# --- schedules --------------------------------------------------------------------------------------------------------


def test_a_schedule_asks_at_its_fire_time_and_the_report_is_computed(plant, temperatures):
    save(plant)
    made = schedule(plant)
    assert (made.recurrence, made.timezone, made.next_at) == ("every Monday 06:00", "Europe/Berlin", MONDAY)
    tick(plant.database, now=MONDAY)
    assert ask_all(plant) == 1
    (report,) = all_reports(plant)
    assert (report.asked_at, report.requested_by) == (MONDAY, "manager")
    # The week from 23 to 29 March has 167 hours: one day lacks one.
    assert report.period_end - report.period_start == timedelta(hours=167)
    with plant.working():
        done = plant.follow(report)
    counts = [row["value"] for row in reports.read_result(plant.layout, done).to_pylist() if row["kpi"] == "count"]
    assert counts == [167.0]
    (fire,) = history(plant)
    assert (fire.fire_at, fire.outcome, fire.report_id, fire.report_status) == (MONDAY, "done", report.id, "done")


def test_after_days_of_downtime_the_report_is_about_the_week_it_was_due_for(plant, temperatures):
    save(plant)
    schedule(plant)
    tick(plant.database, now=MONDAY + 9 * DAY)  # Wednesday of the week after the next
    assert ask_all(plant) == 1
    (report,) = all_reports(plant)
    assert report.asked_at == MONDAY + 7 * DAY
    assert report.period_start == datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert [(one.fire_at, one.skipped) for one in history(plant)] == [(MONDAY + 7 * DAY, 1)]


def test_all_missed_reports_are_about_their_own_weeks(plant, temperatures):
    save(plant)
    schedule(plant, catch_up=CatchUp.ALL, now=FRIDAY - 14 * DAY)
    tick(plant.database, now=MONDAY + DAY)
    assert ask_all(plant) == 3
    starts = sorted(one.period_start for one in all_reports(plant))
    assert [f"{one:%m-%d %H}" for one in starts] == ["03-08 23", "03-15 23", "03-22 23"]


def test_a_schedule_may_have_a_period_and_a_zone_of_its_own(plant):
    save(plant)
    made = schedule(plant, "first day of month 06:00 Asia/Tokyo for last_month")
    assert (made.recurrence, made.timezone, made.period) == ("first day of month 06:00", "Asia/Tokyo", "last_month")
    assert made.next_at == datetime(2026, 3, 31, 21, tzinfo=UTC)
    tick(plant.database, now=made.next_at)
    ask_all(plant)
    (report,) = all_reports(plant)
    assert report.request["period"] == "last_month"
    # In Berlin, whose calendar the template reads, it is still March when April begins in Tokyo.
    assert (report.period_start, report.timezone) == (datetime(2026, 2, 28, 15, tzinfo=UTC), "Asia/Tokyo")
    with plant.database.reading() as session:
        (ahead,) = reports.preview_report_schedule(session, plant.manager, "mondays", now=FRIDAY, count=1)
    assert (ahead.period_start, ahead.period_end) == (report.period_start, report.period_end)
    assert schedule(plant, "every day 06:00", name="zoned").timezone == "Europe/Berlin"
    assert schedule(plant, "every day 06:00", name="named", timezone="UTC").timezone == "UTC"


def test_a_template_may_ask_for_kpis_that_no_known_metric_has_yet(plant):
    """One pump has a description of its own; what others will measure, nobody knows before they do."""
    plant.deliver([("pump-1", "running", MONDAY, 1.0)])
    with plant.database.transaction() as session:
        update_metric(session, plant.manager.project_id, "running", {"kind": "state"}, component="pump-1")
    asks = replace(WEEKLY, request=ReportRequest(period="last_week", kpis=("cp",)), targets={})
    assert save(plant, asks, name="capable").version == 1


@pytest.mark.parametrize(
    ("recurrence", "options"),
    [
        ("every moonday 06:00", {}),
        ("every Monday 06:00 for someday", {}),
        ("every Monday 06:00 Mars/Olympus", {}),
        ("every Monday 06:00 Europe/Berlin", {"timezone": "UTC"}),
        (MONDAYS, {"name": "No good name"}),
        (MONDAYS, {"catch_up_limit": 0}),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(plant, recurrence, options):
    save(plant)
    with pytest.raises(Refused):
        schedule(plant, recurrence, **options)


def test_a_schedule_needs_its_template(plant):
    with pytest.raises(NotFound):
        schedule(plant)


def test_a_schedule_is_changed_paused_resumed_previewed_and_deleted(plant):
    save(plant)
    schedule(plant)
    wishes = ReportScheduleWishes(template="weekly", recurrence="every Tuesday 06:00")
    with plant.database.transaction() as session:
        changed = reports.replace_report_schedule(session, plant.manager, "mondays", wishes, now=FRIDAY)
    assert changed.recurrence == "every Tuesday 06:00"
    with plant.database.transaction() as session:
        assert reports.pause_report_schedule(session, plant.manager, "mondays").next_at is None
    with plant.database.transaction() as session:
        resumed = reports.resume_report_schedule(session, plant.manager, "mondays", now=FRIDAY)
    assert resumed.next_at == MONDAY + DAY
    with plant.database.reading() as session:
        ahead = reports.preview_report_schedule(session, plant.manager, "mondays", now=FRIDAY, count=2)
    assert [one.fire_at for one in ahead] == [MONDAY + DAY, MONDAY + 8 * DAY]
    assert ahead[0].local.isoformat() == "2026-03-31T06:00:00+02:00"
    assert (ahead[0].period_start, ahead[0].period_end) == (
        datetime(2026, 3, 22, 23, tzinfo=UTC),
        datetime(2026, 3, 29, 22, tzinfo=UTC),
    )
    with plant.database.transaction() as session:
        reports.delete_report_schedule(session, plant.manager, "mondays")
    with plant.database.reading() as session, pytest.raises(NotFound):
        reports.get_report_schedule(session, plant.manager, "mondays")


def test_a_recurrence_is_tried_before_it_is_saved():
    ahead = reports.preview_recurrence(f"{MONDAYS} for last_week", timezone=None, now=FRIDAY, count=1)
    assert [(one.fire_at, one.period_start) for one in ahead] == [(MONDAY, None)]
    for text, count in (("every Monday 06:00", 1), (MONDAYS, 0), (MONDAYS, 101)):
        with pytest.raises(Refused):
            reports.preview_recurrence(text, timezone=None, now=FRIDAY, count=count)


def test_a_fire_time_leads_to_one_report_however_often_its_job_is_run(plant, temperatures):
    save(plant)
    schedule(plant)
    tick(plant.database, now=MONDAY)
    job = take(plant)
    control = Control(lambda _progress: None)
    ask_scheduled(job, control, asker=asker(plant))
    with pytest.raises(JobLost):  # as a worker that was thought dead
        ask_scheduled(job, control, asker=asker(plant))
    assert len(all_reports(plant)) == 1


def test_a_report_that_cannot_be_asked_for_is_failed_in_words(plant, temperatures):
    save(plant, replace(WEEKLY, request=replace(WEEKLY.request, components=("pump-1",))))
    schedule(plant)
    tick(plant.database, now=MONDAY)
    with plant.database.transaction() as session:
        row = session.scalars(select(ReportTemplate)).one()
        row.deleted_at = FRIDAY
    assert ask_all(plant) == 1
    (fire,) = history(plant)
    assert (fire.outcome, fire.reason, fire.report_id) == ("failed", "the template of this schedule was deleted", None)


def test_a_lake_that_is_away_for_a_moment_delays_a_report_only(plant, temperatures):
    save(plant)
    schedule(plant)
    tick(plant.database, now=MONDAY)

    class Away:
        def __getattr__(self, _name):
            raise Unavailable("the lake is busy")

    job = take(plant)
    with pytest.raises(Unavailable):
        ask_scheduled(job, Control(lambda _progress: None), asker=replace(asker(plant), source=Away()))
    fail_job(plant.database, job, "the lake is busy", retry=True)
    assert history(plant)[0].outcome == "queued"
    with plant.database.transaction() as session:
        session.execute(update(Job).values(run_at=FRIDAY))
    assert ask_all(plant) == 1
    assert len(all_reports(plant)) == 1


def test_history_comes_in_pages(plant):
    save(plant)
    schedule(plant, "hourly at :00 UTC", catch_up=CatchUp.ALL, catch_up_limit=10)
    tick(plant.database, now=FRIDAY + timedelta(hours=5))
    with plant.database.reading() as session:
        first = reports.list_fires(session, plant.manager, "mondays", limit=3)
        rest = reports.list_fires(session, plant.manager, "mondays", limit=3, cursor=first.next_cursor)
    assert (first.total, rest.next_cursor) == (5, None)
    hours = [one.fire_at.hour for one in (*first.items, *rest.items)]
    assert hours == [17, 16, 15, 14, 13]
    json.dumps([one.outcome for one in first.items])


# --- issued again -----------------------------------------------------------------------------------------------------


@pytest.fixture
def done(plant, temperatures):
    """Return the id of a report by a template that wishes for revisions at once."""

    def make(on_late_data, **wanted):
        save(plant, replace(WEEKLY, on_late_data=on_late_data, **wanted))
        view = reports.request_templated(asker(plant), plant.manager, "weekly", period="2026-W12")
        with plant.working():
            assert plant.follow(view).status == "done"
        return view

    return make


def reissue(plant, ids, now, do=None):
    issued = []
    told = reports.reissue_stale(plant.database, ids, now=now, reissue=do or issued.append)
    return told if do else (told, issued)


def test_stale_reports_are_issued_again_with_the_pause_of_their_template(plant, done):
    view = done(reports.OnLateData.AT_ONCE, minimum_pause_s=600.0)
    pause = timedelta(seconds=600)
    assert reissue(plant, [view.id], view.created_at + pause - timedelta(seconds=1)) == ([], [])
    at = view.created_at + pause
    assert reissue(plant, [view.id, "rep_nobody"], at) == ([view.id], [view.id])
    assert reissue(plant, [view.id], at + pause - timedelta(seconds=1)) == ([], [])
    assert reissue(plant, [view.id], at + pause) == ([view.id], [view.id])


def test_late_rows_lead_to_a_revision_that_says_why_and_only_once(plant, done, monkeypatch):
    view = done(reports.OnLateData.AT_ONCE)
    monkeypatch.setattr("gaugehouse.reports.reissue.is_reissue_due", lambda *_args, **_now: True)
    assert reports.reissue_late(asker(plant), plant.lake.pin()) == []
    plant.deliver([("pump-1", "temperature", datetime(2026, 3, 17, 0, 30, tzinfo=UTC), 5.0)])
    assert reports.reissue_late(asker(plant), plant.lake.pin()) == [view.id]
    assert reports.reissue_late(asker(plant), plant.lake.pin()) == []  # the second revision waits for its worker
    plant.lake.flush()
    with plant.working():
        again = plant.follow(view)
    assert (again.revision, again.status) == (2, "done")
    assert again.because.startswith("1 measurement came after 20")
    assert reports.reissue_late(asker(plant), plant.lake.pin()) == []


def test_reports_of_no_template_or_of_one_that_wants_none_stay(plant, done):
    view = done(reports.OnLateData.NEVER)
    own = plant.ask("2026-W12")
    assert reissue(plant, [view.id, own.id], view.created_at + 100 * DAY) == ([], [])


def test_a_reissue_that_fails_is_tried_again_at_the_next_call(plant, done):
    view = done(reports.OnLateData.DAILY)
    now = view.created_at + 2 * DAY

    def refuse(_report_id):
        raise Unavailable("not now")

    assert reissue(plant, [view.id], now, refuse) == []
    assert reissue(plant, [view.id], now) == ([view.id], [view.id])
    assert reissue(plant, [view.id], now) == ([], [])


def test_of_two_that_are_told_at_once_one_issues(plant, done):
    view = done(reports.OnLateData.DAILY)
    now = view.created_at + 2 * DAY
    inner = []

    def also_told(_report_id):
        inner.append(reissue(plant, [view.id], now))

    assert reissue(plant, [view.id], now, also_told) == [view.id]
    assert inner == [([], [])]
