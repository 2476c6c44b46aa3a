import pytest

from gaugehouse.errors import AlreadyExists, NotFound, Refused, RowsRefused
from gaugehouse.inventory import (
    NewComponent,
    create_components,
    find_component_names,
    find_components,
    get_component,
    restore_component,
    retire_component,
    update_component,
)


def _create(database, project_id, *new):
    with database.transaction() as session:
        return create_components(session, project_id, list(new))


def _find(database, project_id, **filters):
    with database.reading() as session:
        return find_components(session, project_id, **filters)


def _names(database, project_id, **filters):
    return [component.name for component in _find(database, project_id, **filters).items]


@pytest.fixture
def fleet(database, project_id):
    _create(
        database,
        project_id,
        NewComponent(name="pump-1", type="pump", labels={"line": "A", "hall": "1"}),
        NewComponent(name="pump-2", title="Spare 50%", type="pump", labels={"line": "B"}),
        NewComponent(name="Förderband 3", title="Äußeres Band", type="conveyor", labels={"line": "A"}),
        NewComponent(name="chiller_x", type="chiller"),
    )
    return database


def test_a_created_component_is_found_again_as_it_was_given(database, project_id):
    new = NewComponent(
        name="Förderband 3",
        title="Outer",
        type="conveyor",
        labels={"line": "A", "a.b c": "x"},
        attributes={"power_kw": 7.5, "tags": ["x", None], "nested": {"ä": True}},
    )
    [created] = _create(database, project_id, new)
    with database.reading() as session:
        by_name, by_id = (get_component(session, project_id, key) for key in (new.name, created.id))
    assert by_name == by_id == created
    assert (created.name, created.title, created.type) == (new.name, new.title, new.type)
    assert (created.labels, created.attributes, created.line) == (new.labels, new.attributes, "A")
    assert created.id.startswith("cmp_")
    assert created.retired_at is None


def test_an_id_goes_before_a_name_that_looks_like_it(database, project_id):
    [first] = _create(database, project_id, NewComponent(name="pump-1"))
    _create(database, project_id, NewComponent(name=first.id))
    with database.reading() as session:
        assert get_component(session, project_id, first.id).name == "pump-1"


def test_components_of_another_project_do_not_exist(fleet, project_id, other_project_id):
    with fleet.reading() as session:
        mine = get_component(session, project_id, "pump-1")
        for key in ("pump-1", mine.id):
            with pytest.raises(NotFound):
                get_component(session, other_project_id, key)
    assert _find(fleet, other_project_id).total == 0
    with fleet.transaction() as session, pytest.raises(NotFound):
        update_component(session, other_project_id, mine.id, title="mine now")
    _create(fleet, other_project_id, NewComponent(name="pump-1"))  # names are unique within a project only


@pytest.mark.parametrize("key", ["", "nothing", "a\x00b", "\ud800", "x" * 10_000, "' OR 1=1 --"])
def test_what_does_not_exist_is_not_found(database, project_id, key):
    with database.reading() as session, pytest.raises(NotFound):
        get_component(session, project_id, key)


def test_taken_names_are_named_and_nothing_is_created(fleet, project_id):
    new = [NewComponent(name=name) for name in ("pump-9", "pump-2", "pump-1")]
    with pytest.raises(AlreadyExists) as caught:
        _create(fleet, project_id, *new)
    assert caught.value.fields == {"names": ["pump-1", "pump-2"]}
    assert _find(fleet, project_id).total == 4


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " x"}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"name": "ok"}, "name"),  # repeats the first row
        ({"title": "x" * 201}, "title"),
        ({"title": "\ud800"}, "title"),
        ({"type": "a\nb"}, "type"),
        ({"labels": {str(number): "x" for number in range(17)}}, "labels"),
        ({"labels": {'a"b': "x"}}, "labels"),
        ({"labels": {"a\\b": "x"}}, "labels"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"a": "x" * 257}}, "labels"),
        ({"labels": {"a": 7}}, "labels"),
        ({"attributes": {"a": float("nan")}}, "attributes"),
        ({"attributes": {"a": "\x00"}}, "attributes"),
        ({"attributes": {"a": "\ud800"}}, "attributes"),
        ({"attributes": {"a": "x" * 20_000}}, "attributes"),
        ({"attributes": {"a": object()}}, "attributes"),
    ],
)
def test_one_bad_component_refuses_all_and_is_named(database, project_id, changes, field):
    bad = NewComponent(**({"name": "bad"} | changes))
    with pytest.raises(RowsRefused) as caught:
        _create(database, project_id, NewComponent(name="ok"), bad)
    [problem] = caught.value.problems
    assert (problem.row, problem.field) == (1, field)
    assert _find(database, project_id).total == 0


def test_labels_and_attributes_are_merged_and_none_removes(fleet, project_id):
    with fleet.transaction() as session:
        before = get_component(session, project_id, "pump-1")
        changed = update_component(
            session,
            project_id,
            "pump-1",
            title="Main pump",
            labels={"line": "C", "hall": None, "shift": "night"},
            attributes={"power_kw": 3},
        )
    with fleet.reading() as session:
        assert get_component(session, project_id, "pump-1") == changed
    assert changed.labels == {"line": "C", "shift": "night"}
    assert (changed.title, changed.type, changed.attributes) == ("Main pump", "pump", {"power_kw": 3})
    assert changed.updated_at >= before.updated_at
    assert _names(fleet, project_id, search="main PUMP") == ["pump-1"]


def test_a_bad_change_is_refused(fleet, project_id):
    with fleet.transaction() as session, pytest.raises(RowsRefused):
        update_component(session, project_id, "pump-1", labels={f"more-{number}": "x" for number in range(15)})


def test_a_retired_component_leaves_the_lists_and_comes_back(fleet, project_id):
    with fleet.transaction() as session:
        retired = retire_component(session, project_id, "pump-1")
        assert retire_component(session, project_id, "pump-1") == retired
    assert "pump-1" not in _names(fleet, project_id)
    assert "pump-1" in _names(fleet, project_id, include_retired=True)
    with fleet.reading() as session:
        assert get_component(session, project_id, "pump-1").retired_at == retired.retired_at
    with fleet.transaction() as session:
        assert restore_component(session, project_id, retired.id).retired_at is None
    assert "pump-1" in _names(fleet, project_id)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("pump", ["pump-1", "pump-2"]),
        ("PUMP-2", ["pump-2"]),
        ("FÖRDER", ["Förderband 3"]),
        ("äussERES", ["Förderband 3"]),  # casefolding: ß is ss
        ("50%", ["pump-2"]),
        ("%", ["pump-2"]),
        ("_", ["chiller_x"]),
        ("\\", []),
        ("'", []),
        ("", ["Förderband 3", "chiller_x", "pump-1", "pump-2"]),
    ],
)
def test_a_search_looks_into_name_and_title_in_any_case_and_takes_no_wildcards(fleet, project_id, search, found):
    assert sorted(_names(fleet, project_id, search=search)) == sorted(found)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"type": "pump"}, ["pump-1", "pump-2"]),
        ({"type": "Pump"}, []),
        ({"labels": {"line": "A"}}, ["Förderband 3", "pump-1"]),
        ({"labels": {"line": "A", "hall": "1"}}, ["pump-1"]),
        ({"labels": {"line": "a"}}, []),
        ({"labels": {"none": "A"}}, []),
        ({"labels": {"li": "A"}}, []),
        ({"type": "pump", "labels": {"line": "B"}}, ["pump-2"]),
    ],
)
def test_type_and_labels_filter_exactly(fleet, project_id, filters, found):
    assert _names(fleet, project_id, **filters) == found
    with fleet.reading() as session:
        assert find_component_names(session, project_id, **filters) == found


def test_a_label_with_dots_and_spaces_in_its_key_filters(database, project_id):
    _create(database, project_id, NewComponent(name="a", labels={"a.b c[0]'$": "x"}), NewComponent(name="b"))
    assert _names(database, project_id, labels={"a.b c[0]'$": "x"}) == ["a"]


@pytest.mark.parametrize(
    "filters",
    [
        {"search": "\x00"},
        {"search": "\ud800"},
        {"type": "a\x00"},
        {"labels": {'a"': "x"}},
        {"labels": {"a": "\x00"}},
        {"limit": 0},
        {"limit": 1001},
        {"sort": "nonsense"},
        {"sort": "--name"},
        {"cursor": "nonsense"},
        {"cursor": ""},
        {"cursor": "\ud800"},
        {"cursor": "W10"},
        {"cursor": "x" * 10_000},
    ],
)
def test_a_filter_that_means_nothing_is_refused(fleet, project_id, filters):
    with pytest.raises(Refused):
        _find(fleet, project_id, **filters)


def test_names_are_sorted_by_code_point_on_both_engines(database, project_id):
    names = ["b", "B", "a b", "a-b", "ab", "Z", "ä", "é", "中"]
    _create(database, project_id, *(NewComponent(name=name) for name in names))
    assert _names(database, project_id) == sorted(names)
    assert _names(database, project_id, sort="-name") == sorted(names, reverse=True)


@pytest.mark.parametrize("sort", ["name", "-name", "type", "-type", "title", "created_at", "-created_at"])
def test_pages_list_each_component_once_although_sort_keys_tie(database, project_id, sort):
    new = [NewComponent(name=f"c{number:02}", type=f"type {number % 3}") for number in range(25)]
    _create(database, project_id, *new)
    seen, cursor, sizes = [], None, []
    while True:
        page = _find(database, project_id, sort=sort, limit=7, cursor=cursor)
        assert page.total == 25
        seen += page.items
        sizes.append(len(page.items))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sizes == [7, 7, 7, 4]
    assert sorted(item.name for item in seen) == [component.name for component in new]
    keys = [getattr(item, sort.lstrip("-")) for item in seen]
    assert keys == sorted(keys, reverse=sort.startswith("-"))


def test_pages_neither_repeat_nor_skip_when_components_come_and_go(database, project_id):
    _create(database, project_id, *(NewComponent(name=f"c{number}") for number in range(6)))
    first = _find(database, project_id, limit=3)
    _create(database, project_id, NewComponent(name="a-new-one"))
    with database.transaction() as session:
        retire_component(session, project_id, "c2")  # the very row the cursor stands on
    second = _find(database, project_id, limit=3, cursor=first.next_cursor)
    assert [item.name for item in second.items] == ["c3", "c4", "c5"]
    assert second.next_cursor is None


def test_a_cursor_of_another_order_is_refused(fleet, project_id):
    cursor = _find(fleet, project_id, limit=1).next_cursor
    with pytest.raises(Refused):
        _find(fleet, project_id, sort="-name", limit=1, cursor=cursor)
