"""Cookies of browsers, and what keeps other sites from using them.

A cookie is sent by the browser, whoever made it send the request. So ours is `SameSite=Strict`, requests that change
something must say that they come from our own pages (`Sec-Fetch-Site`, or `Origin` of older browsers), and our forms
carry a token that other sites cannot read. `__Host-` keeps neighbours on the same domain from planting one.
"""

import hashlib
import hmac
import re
from http import HTTPMethod
from typing import Literal
from urllib.parse import urlsplit

from fastapi.security import APIKeyCookie
from starlette.requests import Request
from starlette.responses import Response

from gaugehouse.database.ids import random_base62
from gaugehouse.errors import Forbidden

SESSION_COOKIE, FORM_COOKIE = "__Host-session", "__Host-form"
FORM_NONCE = re.compile(r"[0-9A-Za-z]{43}")
SAFE_METHODS = frozenset({HTTPMethod.GET, HTTPMethod.HEAD, HTTPMethod.OPTIONS})
SAME_SITE: Literal["strict"] = "strict"

session_cookie = APIKeyCookie(
    name=SESSION_COOKIE, auto_error=False, description="A browser: set by the page /sign-in, ended by /sign-out"
)


def set_cookie(response: Response, name: str, text: str) -> None:
    """Give the browser a cookie that no script reads and that lives no longer than the browser."""
    response.set_cookie(name, text, path="/", secure=True, httponly=True, samesite=SAME_SITE)


def clear_cookie(response: Response, name: str) -> None:
    """Take a cookie from the browser."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite=SAME_SITE)


def refuse_cross_site(request: Request) -> None:
    """Refuse a request with a cookie that changes something unless one of our own pages sent it.

    Raises:
        Forbidden: another site did (`cross_site`), or the browser does not say who.
    """
    if request.method in SAFE_METHODS:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    # A page whose address is not to be told sends `Origin: null` with its own forms: the first header goes first.
    is_ours = site == "same-origin" if site is not None else _names_us(origin, request)
    if not is_ours:
        raise Forbidden(
            "a cookie counts for requests of our own pages only; programs send Authorization or X-API-Key",
            code="cross_site",
        )


def _names_us(origin: str | None, request: Request) -> bool:
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


def choose_nonce(request: Request) -> str:
    """Return what binds a sign-in form to its browser: what that has, or something new."""
    known = request.cookies.get(FORM_COOKIE, "")
    return known if FORM_NONCE.fullmatch(known) else random_base62(43)


def form_token_of(secret: str) -> str:
    """Return the token of a form, from a cookie that other sites cannot read."""
    return hashlib.sha256(f"gaugehouse form {secret}".encode()).hexdigest()


def check_form(request: Request, form_token: str, *, cookie: str) -> None:
    """Refuse a form that did not come from our page in this browser.

    Raises:
        Forbidden: it did not (`form_refused`).
    """
    refuse_cross_site(request)
    secret = request.cookies.get(cookie, "")
    if not secret or not hmac.compare_digest(form_token_of(secret).encode(), form_token.encode()):
        raise Forbidden(
            "the form and the browser's cookie do not belong together; over plain HTTP browsers keep it for localhost"
            " only, so use HTTPS elsewhere",
            code="form_refused",
        )
