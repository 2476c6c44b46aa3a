"""Passwords that everybody tries first are refused, whatever their case; nothing else about them matters."""

import pytest

from gaugehouse.access.common_passwords import load_common_passwords
from gaugehouse.access.passwords import check_password
from gaugehouse.errors import Refused


def test_the_list_has_more_than_ten_thousand():
    assert len(load_common_passwords()) >= 10_000
    assert all(word == word.casefold() for word in load_common_passwords())


@pytest.mark.parametrize(
    "password",
    [
        "q1w2e3r4t5y6",
        "1QAZ2wsx3EDC",
        "passwordPASSWORD",
        "123456123456",
        "gaugehouse123456",
        "Gaugehouse2024",
        "mona.the.first",
        "password-mona.the.first",
        "mona.the.firstmona.the.first",
    ],
)
def test_a_common_password_is_refused_without_repeating_it(password):
    with pytest.raises(Refused) as caught:
        check_password(password, user_name="mona.the.first")
    assert caught.value.code in {"password_common", "password_refused"}
    assert password not in caught.value.message


@pytest.mark.parametrize(
    "password",
    ["correct horse battery staple", "a long enough password", "Pumpe 7 läuft leise!", "mona likes gauges at dawn"],
)
def test_other_passwords_are_taken_as_they_are(password):
    check_password(password, user_name="mona")
    check_password(password, user_name="")
