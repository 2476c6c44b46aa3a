import math
import threading
import time

import pytest
from sqlalchemy import delete, func, select

from gaugehouse.database import tables
from gaugehouse.errors import AlreadyExists, NotFound, Refused
from gaugehouse.inventory import (
    NewComponent,
    ProjectSettings,
    Registry,
    create_components,
    create_project,
    ensure_default_project,
    find_metrics,
    find_project,
    find_projects,
    get_component,
    get_project_settings,
    put_project_settings,
    retire_component,
)


def _count(database, table):
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_new_names_are_unknown_until_they_are_registered(database, project_id):
    registry = Registry(database)
    assert registry.find_unknown("default", ["b", "a"], ["m"]) == (["b", "a"], ["m"])
    registry.register("default", ["b", "a"], ["m"])
    assert registry.find_unknown("default", ["b", "a"], ["m"]) == ([], [])
    with database.reading() as session:
        component = get_component(session, project_id, "a")
        assert (component.labels, component.attributes, component.type) == ({}, {}, "")
        assert [metric.name for metric in find_metrics(session, project_id).items] == ["m"]


def test_a_known_name_costs_no_question_to_the_database(database, project_id):
    registry = Registry(database)
    registry.register("default", ["a"], ["m"])
    with database.transaction() as session:
        session.execute(tables.Component.__table__.delete())
    assert registry.find_unknown("default", ["a"], ["m"]) == ([], [])


def test_a_name_that_another_process_registered_is_known(database, project_id):
    registry, elsewhere = Registry(database), Registry(database)
    assert registry.find_unknown("default", ["a"], []) == (["a"], [])
    elsewhere.register("default", ["a"], [])
    with database.transaction() as session:
        create_components(session, project_id, [NewComponent(name="b")])
    assert registry.find_unknown("default", ["a", "b", "c"], []) == (["c"], [])


def test_a_retired_component_stays_known(database, project_id):
    registry = Registry(database)
    registry.register("default", ["a"], [])
    with database.transaction() as session:
        retire_component(session, project_id, "a")
    assert Registry(database).find_unknown("default", ["a"], []) == ([], [])


def test_projects_do_not_share_names(database, project_id, other_project_id):
    registry = Registry(database)
    registry.register("default", ["a"], ["m"])
    assert registry.find_unknown("other", ["a"], ["m"]) == (["a"], ["m"])
    registry.register("other", ["a"], ["m"])
    assert _count(database, tables.Component) == 2


def test_an_unknown_project_is_not_found(database):
    registry = Registry(database)
    for ask in (registry.find_unknown, registry.register):
        with pytest.raises(NotFound):
            ask("nowhere", ["a"], [])
    with pytest.raises(NotFound):
        registry.registration_allowed("nowhere")


def test_a_project_that_was_deleted_meanwhile_is_not_found(database, project_id):
    """Names of it are in memory for as long as its deletion takes: senders go on until the last moment."""
    registry = Registry(database)
    registry.register("default", ["a"], ["m"])
    with database.transaction() as session:
        session.execute(delete(tables.Project).where(tables.Project.id == project_id))
    with pytest.raises(NotFound) as refusal:
        registry.register("default", ["b"], ["m"])
    assert refusal.value.code == "project_not_found"


def test_threads_that_see_the_same_new_names_register_them_once(database, project_id):
    registries, barrier, failures = [Registry(database) for _ in range(4)], threading.Barrier(8), []

    def register(number):
        names = [f"c{index}" for index in range(200)]
        barrier.wait()
        try:
            registries[number % 4].register("default", names if number % 2 else names[::-1], ["m1", "m2"])
        except BaseException as exc:  # noqa: BLE001 - carried to the test's own thread
            failures.append(exc)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (_count(database, tables.Component), _count(database, tables.Metric)) == (200, 2)


def test_10_000_names_in_one_call_are_fast(database, project_id):
    registry, names = Registry(database), [f"component {number}" for number in range(10_000)]
    began_s = time.process_time()
    assert registry.find_unknown("default", names, ["m"]) == (names, ["m"])
    registry.register("default", names, ["m"])
    spent_s = time.process_time() - began_s
    assert Registry(database).find_unknown("default", names, ["m"]) == ([], [])
    assert _count(database, tables.Component) == 10_000
    assert spent_s < 5  # CPU; an INSERT per name and commit would take minutes


def test_a_project_can_forbid_registration(database, project_id):
    registry = Registry(database)
    assert registry.registration_allowed("default")
    with database.transaction() as session:
        put_project_settings(session, project_id, ProjectSettings(register_unknown=False))
        assert not get_project_settings(session, project_id).register_unknown
    assert not registry.registration_allowed("default")


CENTURY = {"lateness_limit_s": 36_500 * 86_400.0, "measurements_keep_days": 36_500, "events_keep_days": 36_500}


def test_a_bound_is_at_most_a_century(database, project_id):
    with database.transaction() as session:
        put_project_settings(session, project_id, ProjectSettings(**CENTURY))
        for name, longest in CENTURY.items():
            for wrong in (longest + 1, 800_000 * 86_400, math.inf, math.nan, 0, -1):
                with pytest.raises(Refused) as refused:
                    put_project_settings(session, project_id, ProjectSettings(**{name: wrong}))
                assert refused.value.code == "bound_refused"
        assert get_project_settings(session, project_id) == ProjectSettings(**CENTURY)


def test_the_default_project_is_made_once(database):
    with database.transaction() as session:
        first, second = ensure_default_project(session), ensure_default_project(session)
    assert first == second
    assert (first.slug, _count(database, tables.Project)) == ("default", 1)


def test_projects_are_created_and_found_by_slug(database, project_id):
    with database.transaction() as session:
        created = create_project(session, "plant-7", title="Seven")
    with database.reading() as session:
        assert find_project(session, "plant-7") == created
        assert find_project(session, "nowhere") is None
        assert find_project(session, "a\x00") is None
        assert [project.slug for project in find_projects(session)] == ["default", "plant-7"]


@pytest.mark.parametrize(
    ("slug", "title"), [("Plant 7", ""), ("", ""), ("../x", ""), ("ok", "a\x00"), ("ok", "x" * 201)]
)
def test_a_bad_slug_or_title_is_refused(database, slug, title):
    with database.transaction() as session, pytest.raises(Refused):
        create_project(session, slug, title=title)


def test_a_taken_slug_is_a_conflict(database, project_id):
    with database.transaction() as session, pytest.raises(AlreadyExists):
        create_project(session, "default")
