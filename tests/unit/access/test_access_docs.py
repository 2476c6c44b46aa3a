"""docs/access.md says what each scope is, who holds it, and which route asks for it."""

import re
from pathlib import Path

import pytest

from gaugehouse.access import Scope
from gaugehouse.access.caller import KEY_SCOPES, ROLE_SCOPES, has_scope
from gaugehouse.web.api import ROUTERS
from gaugehouse.web.security import authorize

REFRESH = "POST /v1/token/refresh"
PAGE = (Path(__file__).parents[3] / "docs" / "access.md").read_text("utf-8")


def routes():
    for router in ROUTERS:
        for route in router.routes:
            for method in sorted(route.methods - {"HEAD"}):
                if route.path.startswith("/v1/"):
                    name = f"{method} {route.path}"
                    yield name, told(name, route.dependant.dependencies)


def told(name, dependencies):
    if name == REFRESH:
        return "the refresh token"
    found = [one for one in dependencies if one.call is authorize]
    if not found:
        return "the link"
    return " ".join(f"`{scope}`" for scope in found[0].own_oauth_scopes or []) or "any"


def test_the_page_lists_every_route_with_its_scope_and_no_other():
    expected = {f"| `{name}` | {scope} |" for name, scope in routes()}
    assert set(re.findall(r"^\| `[A-Z]+ /v1/.*$", PAGE.partition("\n## Routes\n")[2], flags=re.MULTILINE)) == expected


@pytest.mark.parametrize("scope", Scope)
def test_the_page_says_who_may_hold_a_scope(scope):
    roles = [role for role in ROLE_SCOPES if has_scope(ROLE_SCOPES[role], scope)]
    keys = "yes" if scope in KEY_SCOPES else "no"
    assert re.search(rf"^\| `{scope}` \| [^|]+ \| {', '.join(roles)} \| {keys} \|$", PAGE, flags=re.MULTILINE)
