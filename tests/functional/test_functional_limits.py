"""Limits of a real server: what is refused, and that waiting as told helps."""

import time

import httpx
import pytest

from functional.installation import PASSWORD

ROW = {"component": "meter", "metric": "level", "value": 1.0}


@pytest.fixture(scope="module")
def guarded(found):
    """A server with few writes a minute; the last test stops it."""
    return found({"GAUGEHOUSE_WRITES_PER_MINUTE": "60", "GAUGEHOUSE_TRUSTED_PROXIES": "127.0.0.0/8"}).start()


def sign_in(installation, password, address, name="vera"):
    form = {"username": name, "password": password}
    return httpx.post(
        f"{installation.url}/token", data=form, headers={"X-Forwarded-For": address}, timeout=60, trust_env=False
    )


def test_who_waits_as_long_as_told_writes_again(guarded):
    device = guarded.device()

    def send(second):
        return device.post(
            "/v1/measurements", json=[ROW | {"measured_at": f"2026-11-20T10:{second // 60:02}:{second % 60:02}Z"}]
        )

    answers = [send(second) for second in range(100)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert {answer.status_code for answer in answers} == {201, 429}
    assert all(answer.headers["ratelimit-policy"] == '"writes";q=60;w=60' for answer in answers)
    assert refused[-1].json()["code"] == "rate_limited"
    time.sleep(int(refused[-1].headers["retry-after"]))
    assert send(100).status_code == 201


def test_guesses_are_delayed_and_the_owner_signs_in_elsewhere(guarded):
    answers = [sign_in(guarded, "a wrong password", "203.0.113.66") for _ in range(30)]
    heard = sum(answer.status_code == 401 for answer in answers)
    assert 5 <= heard <= 10
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.json()["code"] for answer in refused} == {"login_throttled"}
    assert sign_in(guarded, PASSWORD, "192.0.2.1").status_code == 200
    signed_in = sign_in(guarded, PASSWORD, "203.0.113.66")
    if signed_in.status_code == 429:  # what was told before is too short where a guess was heard since
        time.sleep(int(signed_in.headers["retry-after"]))
        signed_in = sign_in(guarded, PASSWORD, "203.0.113.66")
    assert signed_in.status_code == 200  # and a success forgives
    assert sign_in(guarded, "a wrong password", "203.0.113.66").status_code == 401


def test_a_common_password_is_refused_on_the_command_line(guarded):
    done = guarded.run(
        "user",
        "create",
        "nick",
        "--role",
        "viewer",
        "--project",
        "default",
        "--password-stdin",
        stdin="passwordpassword",
    )
    assert done.returncode != 0
    assert "most common" in done.stderr
    assert "passwordpassword" not in done.stderr + done.stdout


def test_an_import_is_held_to_the_rows_of_the_day_whether_the_server_runs_or_not(guarded, tmp_path):
    guarded.run_well("project", "create", "north")
    guarded.run_well("project", "set", "north", "--rows-per-day", "3")

    def bring(rows):
        file = tmp_path / "level.csv"
        file.write_text("\n".join(["time,level", *(f"2026-11-19T10:00:{second:02}Z,1.5" for second in range(rows))]))
        return guarded.run("import", file, "--component", "tank", "--project", "north")

    assert bring(2).returncode == 0
    time.sleep(1.1)  # a running server follows within a second
    refused = bring(4)
    assert refused.returncode != 0
    assert "3 new rows on a UTC day; it has brought 2" in refused.stderr
    guarded.stop()
    refused = bring(4)
    assert refused.returncode != 0
    assert "3 new rows on a UTC day; it has brought 2" in refused.stderr
    assert bring(3).returncode == 0
    guarded.run_well("project", "set", "north", "--rows-per-day", "off")
    assert bring(4).returncode == 0
