"""Logs: JSON lines on a pipe, secrets masked, libraries quiet."""

import json
import logging
import sys

import pytest
import structlog

from gaugehouse.access.api_keys import KEY_PREFIX
from gaugehouse.access.links import LINK_PREFIX
from gaugehouse.access.sessions import COOKIE_PREFIX, REFRESH_PREFIX
from gaugehouse.config import Settings
from gaugehouse.logs import configure_logs

pytestmark = pytest.mark.usefixtures("restored_logging")


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


SECRETS = [
    *(f"{prefix}{'a1B2' * 9}" for prefix in (KEY_PREFIX, LINK_PREFIX, REFRESH_PREFIX, COOKIE_PREFIX)),
    "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c3JfMSJ9.c2lnbmF0dXJl",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_secret_is_masked_wherever_it_stands(capsys, secret):
    configure_logs(Settings())
    structlog.get_logger().info("request_served", path=f"/v1/{secret}/x", caller="high light")
    structlog.get_logger().error("request_crashed", exc_info=ValueError(secret))
    structlog.get_logger().info("told", names=[secret, {"key": (secret,)}], **{secret: 1})
    logging.getLogger("somebody").warning("about %s", {"one": secret})
    said = lines(capsys)
    assert [line["event"] for line in said] == ["request_served", "request_crashed", "told", "about {'one': '***'}"]
    assert secret not in json.dumps(said)
    assert said[0]["path"] == "/v1/***/x"
    assert said[0]["caller"] == "high light"
    assert "ValueError: ***" in said[1]["exception"]


def test_a_terminal_shows_where_it_crashed_and_no_secret(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    configure_logs(Settings())

    def crash(password):
        raise ValueError(SECRETS[0])

    try:
        crash(SECRETS[-1])
    except ValueError:
        structlog.get_logger().exception("request_crashed")
    shown = capsys.readouterr().out
    assert "in crash" in shown
    assert not [secret for secret in SECRETS if secret in shown]


def test_a_fact_is_one_json_line_with_its_fields_and_what_is_bound(capsys):
    configure_logs(Settings())
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger().info("batch_appended", rows=3)
    (line,) = lines(capsys)
    assert (line["event"], line["rows"], line["request_id"], line["level"]) == ("batch_appended", 3, "r1", "info")


@pytest.mark.parametrize("key", ["password", "token", "authorization", "api_key", "secret"])
def test_secrets_are_masked(capsys, key):
    configure_logs(Settings())
    structlog.get_logger().info("signed_in", **{key: "hunter2hunter2"}, asked={"form": [{key: "hunter2hunter2"}]})
    (line,) = lines(capsys)
    assert (line["event"], line[key], line["asked"]) == ("signed_in", "***", {"form": [{key: "***"}]})


def test_a_line_break_in_a_value_makes_no_second_line(capsys):
    configure_logs(Settings())
    structlog.get_logger().info("named", name='x\n{"event": "forged"}')
    assert [line["event"] for line in lines(capsys)] == ["named"]


def test_libraries_speak_in_the_same_form_and_only_when_it_matters(capsys):
    configure_logs(Settings())
    logging.getLogger("alembic.runtime").info("chatter")
    logging.getLogger("somebody").warning("matters")
    assert [line["event"] for line in lines(capsys)] == ["matters"]
