"""The files of deploy/, and what they ask Prometheus."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
OF_PROMETHEUS = frozenset({"up"})
VARIABLES = {"$project": ".+", "$__rate_interval": "1m"}
WORDS = frozenset({"and", "or", "unless", "bool", "offset"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One expression of PromQL, and where it stands."""

    where: str
    expression: str

    @property
    def names(self):
        """The metrics it asks for."""
        text = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]', "", self.expression)
        text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
        return set(re.findall(r"(?<![\w$])[a-zA-Z_:]\w*\b(?!\s*\()", text)) - WORDS


def read_dashboard(path):
    return json.loads(path.read_text("utf-8"))


def panels_of(dashboard):
    """Return the panels that show something; a row is a heading."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def _filled_in(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def find_questions():
    """Return every query of every dashboard, its variables filled in."""
    found = []
    for path in DASHBOARDS:
        dashboard = read_dashboard(path)
        for panel in panels_of(dashboard):
            for target in panel["targets"]:
                where = f"{path.stem}: {panel['title']} {target['refId']}"
                found.append(Question(where=where, expression=_filled_in(target["expr"])))
        for variable in dashboard["templating"]["list"]:
            metric = re.fullmatch(r"label_values\((\w+), \w+\)", variable["query"]["query"])[1]
            found.append(Question(where=f"{path.stem}: variable {variable['name']}", expression=metric))
        for note in dashboard["annotations"]["list"]:
            # It says when something happened, which most of the time is never: asked for here without its comparison.
            expression = _filled_in(note["expr"]).removesuffix(" > 0")
            found.append(Question(where=f"{path.stem}: note {note['name']}", expression=expression))
    return found


def read_alerts():
    """Return every alert rule of deploy/alerts.yml."""
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def find_alert_questions():
    return [Question(where=f"alert {rule['alert']}", expression=rule["expr"]) for rule in read_alerts()]
