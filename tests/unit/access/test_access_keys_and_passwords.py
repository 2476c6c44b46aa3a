import re
import threading
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from gaugehouse.access import passwords
from gaugehouse.access.api_keys import is_well_formed_key, make_key
from gaugehouse.access.passwords import check_password, hash_password, verify_password
from gaugehouse.access.recent import RecentAnswers
from gaugehouse.access.secret_text import hash_secret
from gaugehouse.errors import Refused, Throttled


def test_a_new_key_has_the_published_pattern_and_checks_itself():
    keys = {make_key() for _ in range(200)}
    assert len(keys) == 200
    assert all(re.fullmatch(r"ghk_[0-9A-Za-z]{36}", key) and is_well_formed_key(key) for key in keys)


def test_the_check_characters_are_the_crc32_in_base62():

    number = zlib.crc32(b"0" * 30)
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    expected = "".join(digits[number // 62**power % 62] for power in range(5, -1, -1))
    assert is_well_formed_key("ghk_" + "0" * 30 + expected)


@given(st.integers(4, 39), st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
def test_one_mistyped_character_is_found_without_a_database(position, character):
    key = make_key()
    typo = key[:position] + character + key[position + 1 :]
    assert is_well_formed_key(typo) == (typo == key)


@pytest.mark.parametrize("text", ["", "ghk_", "ghk_" + "0" * 36, "x" * 40, "ghk_" + "é" * 36, "\ud800" * 40])
def test_other_texts_are_no_keys(text):
    assert not is_well_formed_key(text)
    assert not is_well_formed_key(make_key() + "\n")


def test_a_keys_hash_is_its_sha256():
    assert hash_secret("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_password_is_hashed_with_argon2id_at_the_documented_cost():
    assert hash_password("correct horse battery").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_password_verifies_and_another_does_not():
    stored = hash_password("correct horse battery")
    assert verify_password("correct horse battery", stored) == (True, None)
    assert verify_password("correct horse batterx", stored) == (False, None)


def test_a_hash_of_older_parameters_is_replaced_at_login():
    older = PasswordHash((Argon2Hasher(memory_cost=8192, time_cost=1, parallelism=1),)).hash("correct horse battery")
    is_right, better = verify_password("correct horse battery", older)
    assert is_right
    assert better is not None
    assert verify_password("correct horse battery", better) == (True, None)


@pytest.mark.parametrize("password", ["", "x" * 100_000, "\ud800" * 12, "a\x00b"])
def test_impossible_passwords_are_wrong_ones(password):
    assert verify_password(password, hash_password("correct horse battery")) == (False, None)


def test_a_damaged_hash_lets_nobody_in():
    assert verify_password("correct horse battery", "not a hash") == (False, None)


@pytest.mark.parametrize("password", ["twelve chars", "x" * 256, "Straße nach Überall", "            ", "🔑" * 12])
def test_a_password_of_12_to_256_characters_is_accepted_as_it_is(password):
    check_password(password, user_name="mona")


@pytest.mark.parametrize("password", ["", "eleven char", "x" * 257, "\ud800" * 12, "mona-the-first", "MonaTheFirst1"])
def test_a_bad_password_is_refused_without_repeating_it(password):
    with pytest.raises(Refused) as caught:
        check_password(password, user_name="mona-the-first" if "-" in password else "MonaTheFirst")
    assert not password or password not in str(caught.value)


def test_only_two_hashes_run_at_once(monkeypatch):
    running, most = [], []

    class Slow:
        def hash(self, _password):
            running.append(1)
            most.append(len(running))
            time.sleep(0.02)
            running.pop()
            return "h"

    monkeypatch.setattr(passwords, "_hashing", Slow())
    threads = [threading.Thread(target=hash_password, args=("p",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 2


def test_a_login_that_waits_too_long_for_its_turn_is_asked_to_come_back(monkeypatch):
    monkeypatch.setattr(passwords, "HASH_WAIT_S", 0.01)
    with passwords._turn(), passwords._turn(), pytest.raises(Throttled):
        hash_password("p")
    assert hash_password("p")  # both turns were given back


class _Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def test_a_recent_answer_is_given_without_asking_again():
    clock, asked = _Clock(), []
    answers = RecentAnswers(clock, max_age_s=1.0)
    for _ in range(3):
        assert answers.find("q", lambda: asked.append(1) or len(asked)) == 1
    clock.now_s += 0.999
    assert answers.find("q", lambda: asked.append(1) or len(asked)) == 1
    clock.now_s += 0.001
    assert answers.find("q", lambda: asked.append(1) or len(asked)) == 2


def test_who_wants_a_fresher_answer_asks_sooner_and_the_others_are_given_that():
    clock, asked = _Clock(), []
    answers = RecentAnswers(clock, max_age_s=1.0)

    def ask():
        asked.append(1)
        return len(asked)

    assert answers.find("q", ask) == 1
    clock.now_s += 0.4
    assert answers.find("q", ask, max_age_s=0.5) == 1
    assert answers.find("q", ask, max_age_s=0.3) == 2
    assert answers.find("q", ask) == 2
    assert answers.find("q", ask, max_age_s=0.0) == 3
    clock.now_s += 1.0
    assert answers.find("q", ask, max_age_s=60.0) == 4  # nobody is given an older one than all others


def test_the_age_counts_from_before_the_question_was_asked():
    clock = _Clock()
    answers = RecentAnswers(clock, max_age_s=1.0)

    def ask_slowly():
        clock.now_s += 0.9  # the database was slow; what it saw may be this old
        return "old"

    answers.find("q", ask_slowly)
    clock.now_s += 0.2
    assert answers.find("q", lambda: "new") == "new"


def test_an_error_is_not_remembered():
    answers = RecentAnswers(_Clock())
    with pytest.raises(KeyError):
        answers.find("q", lambda: {}["missing"])
    assert answers.find("q", lambda: "fine") == "fine"


def test_made_up_questions_do_not_fill_the_memory():
    answers = RecentAnswers(_Clock(), max_entries=10)
    for number in range(1000):
        answers.find(number, lambda: None)
    assert len(answers._answers) == 10
    asked = []
    answers.find(999, lambda: asked.append(1))
    assert asked == []
