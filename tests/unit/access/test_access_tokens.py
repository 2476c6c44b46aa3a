import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.access.tokens import Claims, Signature, read_token, sign_token
from gaugehouse.errors import Unauthenticated

KID, OTHER_KID = "k" * 43, "o" * 43
KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
ISSUER = "urn:gaugehouse:here"
SIGNATURE = Signature(kid=KID, key=KEY, issuer=ISSUER)
PUBLIC_KEYS = {KID: KEY.public_key(), OTHER_KID: OTHER_KEY.public_key()}
CLAIMS = Claims(kind="user", subject="usr_1", project="plant", scopes=("user", "manager"), version=3, session="ses_1")


def _now_s() -> int:
    return int(time.time())


def _payload(**changes) -> dict:
    now_s = _now_s()
    payload = {
        "iss": ISSUER,
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
        "session": "ses_1",
    } | changes
    return {name: value for name, value in payload.items() if value is not ...}


def _encode(payload: dict, *, key=KEY, **header) -> str:
    signed = f"{_part({'alg': 'EdDSA', 'typ': 'at+jwt', 'kid': KID} | header)}.{_part(payload)}"
    return f"{signed}.{_base64url(key.sign(signed.encode()))}"


def _encode_with_hmac(payload: dict, key: bytes, *, algorithm="HS256") -> str:
    signed = f"{_part({'alg': algorithm, 'typ': 'at+jwt', 'kid': KID})}.{_part(payload)}"
    return f"{signed}.{_base64url(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _part(content: object) -> str:
    return _base64url(json.dumps(content).encode())


def _read(token: str) -> Claims:
    return read_token(token, issuer=ISSUER, find_key=PUBLIC_KEYS.get, max_lifetime_s=900).claims


def test_a_signed_token_says_what_was_claimed():
    token = sign_token(CLAIMS, by=SIGNATURE, issued_at_s=_now_s(), lifetime_s=900)
    assert _read(token) == CLAIMS
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "at+jwt", "kid": KID}


def test_two_tokens_of_the_same_second_differ():
    first, second = (sign_token(CLAIMS, by=SIGNATURE, issued_at_s=_now_s(), lifetime_s=900) for _ in range(2))
    assert first != second


def test_the_plain_payload_of_these_tests_is_accepted():
    assert _read(_encode(_payload())).subject == "usr_1"


@pytest.mark.parametrize(
    "claim", ["exp", "iat", "nbf", "sub", "jti", "iss", "aud", "kind", "project", "scope", "version", "session"]
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
        {"session": 7},
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
    with pytest.raises(Unauthenticated):
        _read(_encode(_payload(), typ=typ))


@pytest.mark.parametrize("algorithm", ["HS256", "ES256", "Ed25519", "Ed448", "eddsa", "none", "", None, 5, ["EdDSA"]])
def test_only_one_algorithm_is_read(algorithm):
    with pytest.raises(Unauthenticated):
        _read(_encode(_payload(), alg=algorithm))


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_the_public_key_is_no_shared_secret(algorithm):
    raw = KEY.public_key().public_bytes_raw()
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (raw, pem, _base64url(raw).encode()):
        with pytest.raises(Unauthenticated):
            _read(_encode_with_hmac(_payload(), secret, algorithm=algorithm))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "EdDSA"])
def test_an_unsigned_token_is_refused(algorithm):
    header = {"alg": algorithm, "typ": "at+jwt", "kid": KID}
    with pytest.raises(Unauthenticated):
        _read(f"{_part(header)}.{_part(_payload())}.")


@pytest.mark.parametrize("kid", [KID, OTHER_KID])
def test_each_key_verifies_only_what_it_signed(kid):
    right = KEY if kid == KID else OTHER_KEY
    assert _read(_encode(_payload(), key=right, kid=kid)).subject == "usr_1"
    wrong = OTHER_KEY if kid == KID else KEY
    with pytest.raises(Unauthenticated):
        _read(_encode(_payload(), key=wrong, kid=kid))


@pytest.mark.parametrize(
    "kid",
    [
        "x" * 43,
        "",
        None,
        7,
        [KID],
        {"kid": KID},
        KID + "\n",
        KID + "\0",
        f"../../{KID}",
        "/dev/null",
        "' OR 1=1 --".ljust(43),
        "https://evil.test/jwks.json".ljust(43, "x"),
        "k" * 3000,
    ],
)
def test_a_name_of_a_key_is_only_ever_compared(kid):
    asked = []
    with pytest.raises(Unauthenticated):
        read_token(_encode(_payload(), kid=kid), issuer=ISSUER, find_key=asked.append, max_lifetime_s=900)
    assert asked == (["x" * 43] if kid == "x" * 43 else [])


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.test/jwks.json"},
        {"x5u": "https://evil.test/key.pem"},
        {"x5c": ["MIIB"]},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": _base64url(OTHER_KEY.public_key().public_bytes_raw())}},
        {"crit": ["exp"]},
        {"zip": "DEF"},
        {"b64": False},
    ],
)
def test_a_header_that_brings_keys_or_wishes_is_refused(header):
    for key in (KEY, OTHER_KEY):
        with pytest.raises(Unauthenticated):
            _read(_encode(_payload(), key=key, **header))


def test_a_changed_scope_breaks_the_signature():
    head, _, signature = _encode(_payload()).split(".")
    with pytest.raises(Unauthenticated):
        _read(f"{head}.{_part(_payload(scope='user manager admin'))}.{signature}")


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
