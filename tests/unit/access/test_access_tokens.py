import base64
import json
import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.access.tokens import Claims, read_token, sign_token
from gaugehouse.errors import Unauthenticated

SECRET = bytes(range(32))
CLAIMS = Claims(kind="user", subject="usr_1", project="plant", scopes=("user", "manager"), version=3)


def _now_s() -> int:
    return int(time.time())


def _payload(**changes) -> dict:
    now_s = _now_s()
    payload = {
        "iss": "gaugehouse",
        "aud": "gaugehouse-api",
        "sub": "usr_1",
        "jti": "x",
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + 900,
        "kind": "user",
        "project": "plant",
        "scope": "user",
        "version": 1,
    } | changes
    return {name: value for name, value in payload.items() if value is not ...}


def _encode(payload: dict, *, key=SECRET, algorithm="HS256", typ="at+jwt") -> str:
    return jwt.encode(payload, key, algorithm=algorithm, headers={"typ": typ})


def _part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _read(token: str) -> Claims:
    return read_token(token, secret=SECRET, max_lifetime_s=900)


def test_a_signed_token_says_what_was_claimed():
    token = sign_token(CLAIMS, secret=SECRET, issued_at_s=_now_s(), lifetime_s=900)
    assert _read(token) == CLAIMS
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "at+jwt"}


def test_two_tokens_of_the_same_second_differ():
    first, second = (sign_token(CLAIMS, secret=SECRET, issued_at_s=_now_s(), lifetime_s=900) for _ in range(2))
    assert first != second


def test_the_plain_payload_of_these_tests_is_accepted():
    assert _read(_encode(_payload())).subject == "usr_1"


@pytest.mark.parametrize(
    "claim", ["exp", "iat", "nbf", "sub", "jti", "iss", "aud", "kind", "project", "scope", "version"]
)
def test_a_token_without_a_required_claim_is_refused(claim):
    with pytest.raises(Unauthenticated):
        _read(_encode(_payload(**{claim: ...})))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "someone"},
        {"aud": "another-api"},
        {"aud": ["gaugehouse-api", "another-api"]},
        {"aud": ["gaugehouse-api"]},
        {"exp": "99999999999"},
        {"exp": 10**400},
        {"exp": True},
        {"sub": 7},
        {"jti": 7},
        {"kind": "key"},
        {"kind": ["user"]},
        {"kind": {"user": 1}},
        {"project": None},
        {"scope": ["user"]},
        {"version": "1"},
        {"version": True},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(changes):
    with pytest.raises(Unauthenticated):
        _read(_encode(_payload(**changes)))


@pytest.mark.parametrize(
    ("iat_s", "nbf_s", "exp_s"),
    [
        (-1000, -1000, -100),  # expired
        (100, 100, 1000),  # issued in the future
        (0, 100, 900),  # not yet valid
        (0, 0, 901),  # lives longer than any token of ours
        (0, 0, 0),
        (0, 0, 900.5),
        (0.5, 0, 900),
    ],
)
def test_a_token_outside_its_time_is_refused(iat_s, nbf_s, exp_s):
    now_s = _now_s()
    with pytest.raises(Unauthenticated):
        _read(_encode(_payload(iat=now_s + iat_s, nbf=now_s + nbf_s, exp=now_s + exp_s)))


@pytest.mark.parametrize("typ", ["JWT", "rt+jwt", "AT+JWT", "", None, 5])
def test_a_token_of_another_type_is_refused(typ):
    header = {"alg": "HS256", "typ": typ}
    signed = f"{_part(header)}.{_part(_payload())}"
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signed.encode(), SECRET)
    token = f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    with pytest.raises(Unauthenticated):
        _read(token)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_only_one_algorithm_is_read(algorithm):
    with pytest.raises(Unauthenticated):
        _read(_encode(_payload(), key=SECRET * 2, algorithm=algorithm))


def test_an_unsigned_token_is_refused():
    with pytest.raises(Unauthenticated):
        _read(f"{_part({'alg': 'none', 'typ': 'at+jwt'})}.{_part(_payload())}.")


def test_a_token_of_another_installation_is_refused():
    with pytest.raises(Unauthenticated):
        _read(_encode(_payload(), key=bytes(32)))


def test_a_changed_scope_breaks_the_signature():
    head, _, signature = _encode(_payload()).split(".")
    with pytest.raises(Unauthenticated):
        _read(f"{head}.{_part(_payload(scope='user manager admin'))}.{signature}")


def test_a_short_secret_signs_nothing():
    with pytest.raises(jwt.InvalidKeyError):
        sign_token(CLAIMS, secret=b"short", issued_at_s=_now_s(), lifetime_s=900)


def test_a_token_over_4_kib_is_refused_before_it_is_read():
    with pytest.raises(Unauthenticated):
        _read(_encode(_payload(extra="x" * 4096)))


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "\ud800", "Förder.band.3", "[" * 4000]
    + [f"{base64.urlsafe_b64encode(text).decode().rstrip('=')}.e30.x" for text in (b"[" * 3000, b'{"a":' * 500, b"7")],
)
def test_hostile_texts_are_refused_and_nothing_more(token):
    with pytest.raises(Unauthenticated):
        _read(token)


@given(st.text(max_size=200))
def test_no_text_is_a_token(text):
    with pytest.raises(Unauthenticated):
        _read(text)
