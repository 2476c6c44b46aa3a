"""Signing and reading access tokens: RFC 9068 shape (`at+jwt`), RFC 8725 rules. Pure: no database."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gaugehouse.errors import Unauthenticated

ALGORITHM = "EdDSA"  # with Ed25519 keys only: the key's type is fixed too (RFC 8725, 3.1)
TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type
AUDIENCE = "gaugehouse-api"
MAX_TOKEN_BYTES = 4096  # checked before anything is decoded
LEEWAY_S = 5  # between clocks of this service's own machines
TokenKind = Literal["user", "operator"]
KINDS: tuple[TokenKind, ...] = ("user", "operator")
REQUIRED_CLAIMS = ("exp", "iat", "nbf", "sub", "jti", "iss", "aud")
HEADER_FIELDS = frozenset(
    {"alg", "typ", "kid"}
)  # all others name keys elsewhere (jku, x5u, jwk) or wish something (crit)
KID = re.compile(r"[0-9A-Za-z_-]{43}")

_jwt = jwt.PyJWT()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says. `version` is the user's token_version when it was issued; `session` whose it is, or empty."""

    kind: TokenKind
    subject: str
    project: str
    scopes: tuple[str, ...]
    version: int
    session: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenuineToken:
    """A token whose signature and times were right: until when [s since 1970 UTC], and by which key."""

    claims: Claims
    expires_at_s: int
    kid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who signs: the key, its name, the issuer that it stands for."""

    kid: str
    key: Ed25519PrivateKey
    issuer: str


def sign_token(claims: Claims, *, by: Signature, issued_at_s: int, lifetime_s: int) -> str:
    """Return a signed token. [issued_at_s: whole seconds since 1970 UTC]"""
    payload = {
        "iss": by.issuer,
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
        "session": claims.session,
    }
    return _jwt.encode(payload, by.key, algorithm=ALGORITHM, headers={"typ": TOKEN_TYPE, "kid": by.kid})


def read_token(
    token: str, *, issuer: str, find_key: Callable[[str], Ed25519PublicKey | None], max_lifetime_s: int
) -> GenuineToken:
    """Return what a genuine, current token says.

    Args:
        token: As the caller sent it.
        issuer: The only one that is accepted.
        find_key: Returns the key of a `kid`, which is only ever compared: 43 characters of base64url.
        max_lifetime_s: Tokens that live longer are none of ours. [s]

    Raises:
        Unauthenticated: anything else, always with the same text: a forger learns nothing.
    """
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise refuse_token()
    try:
        kid = _read_kid(jwt.get_unverified_header(token))
        key = find_key(kid)
        if key is None:
            raise refuse_token()
        payload = _jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=issuer,
            audience=AUDIENCE,
            leeway=LEEWAY_S,
            options={"require": list(REQUIRED_CLAIMS), "strict_aud": True},
        )
    except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as exc:  # the last three: hostile JSON
        raise refuse_token() from exc
    return GenuineToken(claims=_read_claims(payload, max_lifetime_s), expires_at_s=payload["exp"], kid=kid)


def _read_kid(header: Mapping[str, Any]) -> str:
    """Return the name of the key; PyJWT accepts any type: a token made for another purpose would pass."""
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or header.get("typ") != TOKEN_TYPE or not header.keys() <= HEADER_FIELDS:
        raise refuse_token()
    if not isinstance(kid, str) or KID.fullmatch(kid) is None:
        raise refuse_token()
    return kid


def _read_claims(payload: Mapping[str, Any], max_lifetime_s: int) -> Claims:
    times = [payload["iat"], payload["nbf"], payload["exp"]]
    if any(type(instant) is not int for instant in times):  # PyJWT takes "9999" and 1e400 for an expiry
        raise refuse_token()
    issued_at_s, _, expires_at_s = times
    if not 0 < expires_at_s - issued_at_s <= max_lifetime_s:
        raise refuse_token()
    kind = next((known for known in KINDS if known == payload.get("kind")), None)  # it may be a list: no set can look
    project, scope, session, version = (payload.get(name) for name in ("project", "scope", "session", "version"))
    if kind is None or not isinstance(project, str) or not isinstance(scope, str) or not isinstance(session, str):
        raise refuse_token()
    if type(version) is not int:
        raise refuse_token()
    return Claims(
        kind=kind,
        subject=payload["sub"],
        project=project,
        scopes=tuple(scope.split()),
        version=version,
        session=session,
    )


def refuse_token() -> Unauthenticated:
    """Return the one refusal of every token that does not count."""
    return Unauthenticated("the token is not valid or has expired; log in again", code="token_refused")
