"""Query strings: typos and repeats are refused, lists may repeat."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Query

from gaugehouse.web.edge import NameList
from gaugehouse.web.problems import install_error_table
from gaugehouse.web.query_fields import refuse_stray_fields


@pytest.fixture
def app():
    app = FastAPI(dependencies=[Depends(refuse_stray_fields)])
    install_error_table(app)

    async def nested(limit: int | None = None) -> int | None:
        return limit

    @app.get("/rows")
    def rows(
        limit: Annotated[int | None, Depends(nested)],
        metric: NameList = None,
        answer_format: Annotated[str | None, Query(alias="format")] = None,
    ) -> list[str] | None:
        return metric

    return app


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", None),
        ("metric=a", ["a"]),
        ("metric=a,b", ["a", "b"]),
        ("metric=a%2Cb&metric=c", ["a,b", "c"]),
        ("metric=", []),
        ("limit=5&format=csv", None),
    ],
)
def test_known_fields_are_read(client, query, names):
    assert client.get(f"/rows?{query}").json() == names


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("metrics=a", "query.metrics"),
        ("limit=1&limit=2", "query.limit"),
        ("format=csv&format=json", "query.format"),
        ("answer_format=csv", "query.answer_format"),
    ],
)
def test_stray_fields_are_named(client, query, field):
    answer = client.get(f"/rows?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert answer.json()["detail"].endswith("the fields are format, limit, metric")
