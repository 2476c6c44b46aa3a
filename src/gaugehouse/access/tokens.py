"""Signing and reading access tokens: RFC 9068 shape (`at+jwt`), RFC 8725 rules. Pure: no database."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jwt

from gaugehouse.errors import Unauthenticated

ALGORITHM = "HS256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type
ISSUER = "gaugehouse"
AUDIENCE = "gaugehouse-api"
MAX_TOKEN_BYTES = 4096  # checked before anything is decoded
LEEWAY_S = 5
TokenKind = Literal["user", "operator"]
KINDS: tuple[TokenKind, ...] = ("user", "operator")
REQUIRED_CLAIMS = ("exp", "iat", "nbf", "sub", "jti", "iss", "aud")

_jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says. `version` is the user's token_version when it was issued."""

    kind: TokenKind
    subject: str
    project: str
    scopes: tuple[str, ...]
    version: int


def sign_token(claims: Claims, *, secret: bytes, issued_at_s: int, lifetime_s: int) -> str:
    """Return a signed token. [issued_at_s: whole seconds since 1970 UTC]"""
    payload = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": claims.subject,
        "jti": secrets.token_urlsafe(16),
        "iat": issued_at_s,
        "nbf": issued_at_s,
        "exp": issued_at_s + lifetime_s,
        "kind": claims.kind,
        "project": claims.project,
        "scope": " ".join(claims.scopes),
        "version": claims.version,
    }
    return _jwt.encode(payload, secret, algorithm=ALGORITHM, headers={"typ": TOKEN_TYPE})


def read_token(token: str, *, secret: bytes, max_lifetime_s: int) -> Claims:
    """Return what a genuine, current token says.

    Raises:
        Unauthenticated: anything else, always with the same text: a forger learns nothing.
    """
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise _refusal()
    try:
        header = jwt.get_unverified_header(token)
        if header.get("typ") != TOKEN_TYPE:  # PyJWT accepts any: a token made for another purpose would pass
            raise _refusal()
        payload = _jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway=LEEWAY_S,
            options={"require": list(REQUIRED_CLAIMS), "strict_aud": True},
        )
    except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as exc:  # the last three: hostile JSON
        raise _refusal() from exc
    return _read_claims(payload, max_lifetime_s)


def _read_claims(payload: Mapping[str, Any], max_lifetime_s: int) -> Claims:
    times = [payload["iat"], payload["nbf"], payload["exp"]]
    if any(type(instant) is not int for instant in times):  # PyJWT takes "9999" and 1e400 for an expiry
        raise _refusal()
    issued_at_s, _, expires_at_s = times
    if not 0 < expires_at_s - issued_at_s <= max_lifetime_s:
        raise _refusal()
    kind = next((known for known in KINDS if known == payload.get("kind")), None)  # it may be a list: no set can look
    project, scope, version = (payload.get(name) for name in ("project", "scope", "version"))
    if kind is None or not isinstance(project, str) or not isinstance(scope, str):
        raise _refusal()
    if type(version) is not int:
        raise _refusal()
    return Claims(kind=kind, subject=payload["sub"], project=project, scopes=tuple(scope.split()), version=version)


def _refusal() -> Unauthenticated:
    return Unauthenticated("the token is not valid or has expired; log in again", code="token_refused")
