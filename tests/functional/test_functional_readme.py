"""Every command line and every snippet of the README runs, in the order a newcomer would try them."""

import json
import os
import re
import subprocess
import sys

import pytest
import typer

from functional.installation import REPOSITORY, wait_until
from gaugehouse.cli.commands import app

README = (REPOSITORY / "README.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8080"
MARK = "@@@ "


def section(title):
    """Return the text between a heading and the next one."""
    return re.split(r"^## ", README.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def answers(demo):
    """What each line of "The API by example" printed: the lines run in one shell, as they stand."""
    lines = [line for block in blocks(section("The API by example"), "sh") for line in block.splitlines() if line]
    script = "\n".join(f"echo; echo '{MARK}{number}'; {line}" for number, line in enumerate(lines))
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script.replace(ADDRESS, demo.url)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"no_proxy": "127.0.0.1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = re.split(rf"^{MARK}\d+\n", done.stdout, flags=re.MULTILINE)[1:]
    return dict(zip(lines, (text.strip() for text in printed), strict=True))


def answer_to(answers, part):
    (answer,) = [answer for line, answer in answers.items() if part in line]
    return answer


def test_every_line_answers_without_a_problem(answers):
    assert len(answers) > 12
    for line, answer in answers.items():
        assert '"status":4' not in answer, line
        assert "urn:" not in answer, f"{line}\n{answer}"


def test_the_receipts_say_what_was_stored(answers):
    receipts = [json.loads(answer) for line, answer in answers.items() if "/v1/measurements -H" in line]
    assert [receipt["accepted"] for receipt in receipts] == [1, 2, 1]
    assert json.loads(answer_to(answers, "/v1/events"))["accepted"] == 1


def test_reading_gives_back_what_was_sent(answers):
    page = json.loads(answer_to(answers, "press-1/measurements"))
    assert [row["value"] for row in page["items"]] == [71.5, 71.9]
    pumps = json.loads(answer_to(answers, "/v1/components?type=pump"))["items"]
    assert len(pumps) == 5
    assert {pump["type"] for pump in pumps} == {"pump"}
    host = json.loads(answer_to(answers, "this-host/latest"))["items"]
    assert "cpu_percent" in {row["metric"] for row in host}
    assert "event: measurements" in answer_to(answers, "/v1/live")
    days = answer_to(answers, "every=1d").splitlines()
    assert days[0].startswith("component,metric,bucket_start,bucket_end,mean,max,count")
    assert len(days) > 50
    assert len(answer_to(answers, "points=200").splitlines()) > 200


def test_the_report_is_followed_to_its_result(answers):
    rows = answer_to(answers, "/result -H").splitlines()
    assert rows[0].startswith("component,metric,kpi,bucket_start,bucket_end,value,unit,coverage,n,status,reason")
    assert len(rows) > 7 * 20
    assert answer_to(answers, "format=pdf") in {"200 application/pdf", "202 application/json"}


@pytest.mark.parametrize("snippet", blocks(section("Read the lake"), "python"))
def test_the_lake_is_read_in_three_lines_while_the_service_runs(demo, answers, snippet):
    wait_until(demo.has_rows_on_disk)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet.replace("data/lake", str(demo.data_dir / "lake"))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"pump-\d|chiller-\d|this-host|temperature|_percent|pressure", done.stdout), done.stdout
    assert len([line for line in snippet.splitlines() if line and "import" not in line]) <= 3


def commands_of(command, words):
    """Return the commands that a line of the README is about: `user list|role` are two."""
    if not hasattr(command, "commands") or not re.fullmatch(r"[a-z|]+", words[0]):
        return [command]
    return [one for name in words[0].split("|") for one in commands_of(command.commands[name], words[1:])]


def test_the_commands_of_the_readme_exist_with_their_options_and_none_is_left_out():
    root = typer.main.get_command(app)
    named, about = set(), []
    for line in blocks(section("From the command line"), "text")[0].splitlines():
        if line.startswith("gaugehouse "):  # else it goes on
            words = line.split()[1:]
            named.add(words[0])
            about = commands_of(root, words)
        known = {option for one in about for parameter in one.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", line)) <= known, line
    assert named == set(root.commands)
