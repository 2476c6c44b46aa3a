"""The dashboards and what provisions them, as files: everything has a title, a unit and a source."""

import itertools

import pytest
import yaml

from functional.deploy.deployed import (
    DASHBOARDS,
    DEPLOY,
    OF_PROMETHEUS,
    find_questions,
    panels_of,
    read_dashboard,
)
from gaugehouse.web.exposition import METRICS
from gaugehouse.web.fleet_exposition import FLEET_METRICS

PROVISIONING = DEPLOY / "grafana" / "provisioning"
SOURCE = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"][0]
EACH = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def test_there_are_three():
    assert [path.stem for path in DASHBOARDS] == ["fleet", "ingestion", "reports"]
    assert len({read_dashboard(path)["uid"] for path in DASHBOARDS}) == 3


@EACH
def test_every_panel_has_its_own_number_a_title_a_meaning_a_unit_and_the_source(path):
    dashboard = read_dashboard(path)
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in panels_of(dashboard):
        where = f"{path.stem}: {panel['title']}"
        assert panel["description"].endswith("."), where
        assert panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None, where
        assert panel["targets"], where
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": SOURCE["uid"]}, where
        assert [target["refId"] for target in panel["targets"]] == [*"ABCDEFGH"[: len(panel["targets"])]], where


@EACH
def test_panels_lie_beside_each_other_on_the_grid(path):
    taken = set()
    for panel in read_dashboard(path)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken, panel["title"]
        taken |= cells


@EACH
def test_one_project_can_be_chosen(path):
    dashboard = read_dashboard(path)
    (variable,) = dashboard["templating"]["list"]
    assert (variable["name"], variable["allValue"], variable["includeAll"]) == ("project", ".+", True)
    asked = [target["expr"] for panel in panels_of(dashboard) for target in panel["targets"]]
    assert any('project=~"$project"' in expression for expression in asked)


@pytest.mark.parametrize("question", find_questions(), ids=lambda question: question.where)
def test_a_query_asks_for_metrics_of_the_service(question):
    assert question.names
    for name in question.names:
        known = {name, *(name.removesuffix(end) for end in ("_bucket", "_sum", "_count"))} & (
            METRICS | FLEET_METRICS
        ).keys()
        assert known or name in OF_PROMETHEUS or name.startswith("gaugehouse_process_"), name


def test_grafana_finds_the_source_and_the_dashboards():
    assert SOURCE["type"] == "prometheus"
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "gaugehouse.yml").read_text("utf-8"))["providers"]
    grafana = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text("utf-8"))["services"]["grafana"]
    mounted = dict(reversed(volume.removesuffix(":ro").split(":")) for volume in grafana["volumes"])
    assert mounted[provider["options"]["path"]] == "./grafana/dashboards"
    assert mounted["/etc/grafana/provisioning"] == "./grafana/provisioning"
