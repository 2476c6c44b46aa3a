"""Tokens from outside: keys that follow one another beside a running server, and sessions that end beside it."""

import threading
import time

import httpx
import jwt
import pytest

from functional.installation import PASSWORD, wait_until


@pytest.fixture(scope="module")
def signing(found):
    installation = found().start()
    yield installation
    installation.stop()


def call(installation, method, path, **options):
    return httpx.request(method, f"{installation.url}{path}", timeout=120, trust_env=False, **options)


def tokens_of(installation, name="vera"):
    answer = call(installation, "POST", "/token", data={"username": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return answer.json()


def asks(installation, tokens):
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    return call(installation, "GET", "/v1/me", headers=headers).status_code


def refreshed(installation, tokens):
    return call(installation, "POST", "/v1/token/refresh", json={"refresh_token": tokens["refresh_token"]})


def kids(installation):
    return [key["kid"] for key in call(installation, "GET", "/.well-known/jwks.json").json()["keys"]]


def test_no_token_is_lost_while_keys_follow_one_another(signing):
    tokens, ending, answers = [tokens_of(signing)], threading.Event(), []

    def ask():
        while not ending.is_set():
            tokens.append(refreshed(signing, tokens[-1]).json())
            answers.extend(asks(signing, one) for one in (tokens[0], tokens[-1]))
            ending.wait(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    before = kids(signing)
    assert "older tokens count until" in signing.run_well("key", "rotate")
    wait_until(lambda: jwt.get_unverified_header(tokens[-1]["access_token"])["kid"] not in before, what="a new key")
    ending.set()
    asking.join()
    assert set(answers) == {200}
    assert len(kids(signing)) == 2


def test_a_key_that_was_exposed_ends_all_tokens_within_a_second(signing):
    tokens = tokens_of(signing)
    assert asks(signing, tokens) == 200
    assert "within a second every server refuses all access tokens" in signing.run_well("key", "rotate", "--at-once")
    time.sleep(1.0)
    assert asks(signing, tokens) == 401
    again = refreshed(signing, tokens).json()
    assert asks(signing, again) == 200
    assert len(kids(signing)) == 1


def test_a_user_is_sent_away_beside_the_server(signing):
    tokens = tokens_of(signing)
    assert asks(signing, tokens) == 200
    assert "vera is signed out everywhere" in signing.run_well("user", "revoke", "vera")
    time.sleep(1.0)
    assert asks(signing, tokens) == 401
    assert refreshed(signing, tokens).status_code == 401
    assert asks(signing, tokens_of(signing)) == 200


def test_sessions_outlive_a_restart_and_tokens_of_another_installation_are_none_here(signing, house):
    tokens = tokens_of(signing)
    assert asks(house, tokens) == 401
    assert refreshed(house, tokens).status_code == 401
    signing.restart()
    assert asks(signing, tokens) == 200
    assert refreshed(signing, tokens).status_code == 200
