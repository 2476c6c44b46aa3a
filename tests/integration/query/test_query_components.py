"""Which components a question is about."""

import pytest

from gaugehouse.errors import NotFound, Refused
from gaugehouse.inventory import (
    NewComponent,
    create_components,
    create_project,
    ensure_default_project,
    retire_component,
)
from gaugehouse.query import resolve_components


@pytest.fixture
def plant(database):
    """Project id and the ids of its components by name."""
    with database.transaction() as session:
        project = ensure_default_project(session)
        other = create_project(session, "other")
        create_components(session, other.id, [NewComponent(name="stranger")])
        created = create_components(
            session,
            project.id,
            [
                NewComponent(name="b", type="pump", labels={"line": "1"}),
                NewComponent(name="Förderband 3", type="conveyor", labels={"line": "1", "hall": "2"}),
                NewComponent(name="a", type="pump", labels={"line": "2"}),
            ],
        )
        ids = {one.name: one.id for one in created}
        create_components(session, project.id, [NewComponent(name=ids["a"], type="liar")])  # named like an id
        retire_component(session, project.id, "a")
    return project.id, ids


@pytest.fixture
def resolve(database, plant):
    def call(**question):
        with database.reading() as session:
            return resolve_components(session, plant[0], **question)

    return call


def test_nothing_given_is_every_component_without_a_list(resolve):
    assert resolve() is None
    assert resolve(labels={}) is None


def test_names_and_ids_are_resolved_sorted_each_once(resolve, plant):
    assert resolve(names=["b", "Förderband 3", plant[1]["b"], "b"]) == ("Förderband 3", "b")


def test_a_retired_component_still_has_rows_to_read(resolve):
    assert resolve(names=["a"]) == ("a",)
    assert resolve(type="pump") == ("a", "b")


def test_an_id_wins_over_a_component_that_is_named_like_it(resolve, plant):
    assert resolve(names=[plant[1]["a"]]) == ("a",)


def test_type_and_labels_narrow_each_other_and_the_names(resolve):
    assert resolve(labels={"line": "1"}) == ("Förderband 3", "b")
    assert resolve(type="pump", labels={"line": "1"}) == ("b",)
    assert resolve(labels={"line": "1", "hall": "2"}) == ("Förderband 3",)
    assert resolve(names=["a", "b"], labels={"line": "1"}) == ("b",)
    assert resolve(type="robot") == ()
    assert resolve(names=[]) == ()


@pytest.mark.parametrize("name", ["stranger", "B", "", "\x00", "\ud800", "x" * 5000])
def test_a_name_that_is_not_of_this_project_is_not_found(resolve, name):
    with pytest.raises(NotFound) as missing:
        resolve(names=["a", name])
    assert missing.value.fields["names"] == [name[:200].replace("\ud800", "?")]


def test_many_unknown_names_are_counted_and_twenty_named(resolve):
    with pytest.raises(NotFound, match="nor 2999 others") as missing:
        resolve(names=["a", *(f"x{n}" for n in range(3000))])
    assert len(missing.value.fields["names"]) == 20


def test_a_label_that_no_component_can_have_is_refused(resolve):
    with pytest.raises(Refused):
        resolve(labels={"": "1"})


def test_who_may_see_one_component_finds_that_one_only(resolve, plant):
    assert resolve(visible="a") == ("a",)
    assert resolve(visible="not yet there") == ("not yet there",)
    assert resolve(visible="a", names=["a", plant[1]["a"]]) == ("a",)
    assert resolve(visible="a", type="pump") == ("a",)
    assert resolve(visible="a", type="conveyor") == ()
    for hidden in ("b", plant[1]["b"], "nobody"):
        with pytest.raises(NotFound, match=f"there is no component '{hidden}'$"):
            resolve(visible="a", names=["a", hidden])
