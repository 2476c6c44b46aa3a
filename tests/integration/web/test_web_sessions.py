"""Sessions over HTTP: refresh tokens, signing out, cookies of browsers and what keeps other sites from using them."""

from dataclasses import replace

import pytest

from asgi_client import Client
from gaugehouse.access import create_user
from gaugehouse.audit import EntryFilter, find_entries
from gaugehouse.config import Settings
from gaugehouse.errors import StartRefused
from gaugehouse.installation import open_access
from gaugehouse.web.app import create_app
from gaugehouse.web.cookies import FORM_COOKIE, SESSION_COOKIE, form_token_of
from gaugehouse.web.sites import read_origins

PASSWORD = "a long password of somebody"
SAME = {"Sec-Fetch-Site": "same-origin"}
NONCE = "n" * 43
HTML = {"Accept": "text/html,*/*;q=0.8"}


@pytest.fixture(scope="module", autouse=True)
def people(runtime):
    """The admin ada, and ben and cyd who read."""
    with runtime.database.transaction() as session:
        for name, role in (("ada", "admin"), ("ben", "viewer"), ("cyd", "viewer")):
            create_user(session, name=name, password=PASSWORD, role=role, project="default")


@pytest.fixture
def elsewhere(runtime):
    """Another server of the same installation that remembers nothing yet, as every server a second later."""
    return lambda: Client(create_app(replace(runtime, access=open_access(runtime.settings, runtime.database))))


def tokens_of(client, name):
    answer = client.post("/token", data={"username": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return answer.json()


def bearer(tokens):
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def refresh(client, tokens):
    return client.post("/v1/token/refresh", json={"refresh_token": tokens["refresh_token"]})


def cookie(name, text):
    return {"Cookie": f"{name}={text}"}


def sign_in_page(client, *, username="ben", password=PASSWORD, headers=SAME, nonce=NONCE, form_token=None):
    form = {"username": username, "password": password, "form_token": form_token or form_token_of(NONCE)}
    return client.post("/sign-in", data=form, headers=cookie(FORM_COOKIE, nonce) | headers)


@pytest.fixture(scope="module")
def browser(anonymous):
    """The header of a browser in which ben is signed in."""
    answer = sign_in_page(anonymous)
    assert answer.status_code == 303, answer.text
    return cookie(SESSION_COOKIE, answer.cookies[SESSION_COOKIE])


def actions(runtime, **wanted):
    with runtime.database.reading() as session:
        return [one.action for one in find_entries(session, EntryFilter(**wanted), limit=100).entries]


def test_a_sign_in_brings_what_buys_the_next_tokens(anonymous):
    first = tokens_of(anonymous, "ben")
    second = refresh(anonymous, first).json()
    assert second.keys() == {"access_token", "refresh_token", "token_type", "expires_in", "scope"}
    assert second["scope"] == first["scope"] == "user"
    assert anonymous.get("/v1/me", headers=bearer(second)).json()["name"] == "ben"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"refresh_token": "ghr_" + "0" * 43}, 401),
        ({"refresh_token": "x"}, 401),
        ({"refresh_token": 7}, 422),
        ({"refresh_token": "x" * 300}, 422),
        ({}, 422),
        ({"refresh_token": "x", "more": 1}, 422),
    ],
)
def test_a_refresh_that_fails_is_a_problem(anonymous, body, status):
    answer = anonymous.post("/v1/token/refresh", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "ratelimit" in answer.headers or status == 422


def test_who_signs_out_is_out_on_every_server(anonymous, elsewhere):
    tokens, other = tokens_of(anonymous, "ben"), tokens_of(anonymous, "ben")
    assert anonymous.post("/v1/logout", headers=bearer(tokens)).status_code == 204
    assert refresh(anonymous, tokens).status_code == 401
    assert elsewhere().get("/v1/me", headers=bearer(tokens)).status_code == 401
    assert elsewhere().get("/v1/me", headers=bearer(other)).status_code == 200


def test_who_signs_out_everywhere_is_out_of_all_sessions(anonymous, elsewhere):
    tokens, other = tokens_of(anonymous, "cyd"), tokens_of(anonymous, "cyd")
    assert anonymous.post("/v1/logout-everywhere", headers=bearer(tokens)).json() == {"sessions": 2}
    for ended in (tokens, other):
        assert refresh(anonymous, ended).status_code == 401
        assert elsewhere().get("/v1/me", headers=bearer(ended)).status_code == 401
    assert elsewhere().get("/v1/me", headers=bearer(tokens_of(anonymous, "cyd"))).status_code == 200


def test_an_admin_ends_the_sessions_of_a_member_and_nobody_else_does(anonymous, elsewhere):
    ada, ben, cyd = (tokens_of(anonymous, name) for name in ("ada", "ben", "cyd"))
    body = {"user": "cyd"}
    assert anonymous.post("/v1/logout-everywhere", json=body, headers=bearer(ben)).status_code == 403
    assert elsewhere().get("/v1/me", headers=bearer(cyd)).status_code == 200
    assert anonymous.post("/v1/logout-everywhere", json=body, headers=bearer(ada)).json()["sessions"] >= 1
    assert elsewhere().get("/v1/me", headers=bearer(cyd)).status_code == 401
    assert elsewhere().get("/v1/me", headers=bearer(ada)).status_code == 200
    missing = anonymous.post("/v1/logout-everywhere", json={"user": "nobody"}, headers=bearer(ada))
    assert (missing.status_code, missing.json()["code"]) == (404, "user_not_found")


def test_people_see_their_own_sessions_and_end_them_one_by_one(anonymous, elsewhere):
    ours, spare, others = (tokens_of(anonymous, name) for name in ("ben", "ben", "cyd"))
    listed = anonymous.get("/v1/me/sessions", headers=bearer(ours)).json()
    assert listed["total"] == len(listed["items"]) >= 2
    assert [item["is_current"] for item in listed["items"]].count(True) == 1
    assert {(item["kind"], item["project"], *item["scopes"]) for item in listed["items"]} == {
        ("token", "default", "user")
    }
    current = [
        next(
            item["id"]
            for item in anonymous.get("/v1/me/sessions", headers=bearer(one)).json()["items"]
            if item["is_current"]
        )
        for one in (spare, others)
    ]
    ended = [anonymous.delete(f"/v1/me/sessions/{one}", headers=bearer(ours)).status_code for one in current]
    assert ended == [204, 404]
    assert anonymous.delete(f"/v1/me/sessions/{current[0]}", headers=bearer(ours)).json()["code"] == "session_not_found"
    assert elsewhere().get("/v1/me", headers=bearer(spare)).status_code == 401
    assert elsewhere().get("/v1/me", headers=bearer(others)).status_code == 200
    assert refresh(anonymous, spare).status_code == 401


def test_a_key_has_no_session_to_end(make_key):
    for path in ("/v1/logout", "/v1/logout-everywhere"):
        answer = make_key().post(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "no_session")


def test_a_token_that_came_twice_is_in_the_audit_log(anonymous, runtime, elsewhere):
    first = tokens_of(anonymous, "ben")
    second = refresh(anonymous, first).json()
    third = refresh(anonymous, second).json()
    caller = runtime.access.caller_of_token(first["access_token"])
    assert refresh(anonymous, first).status_code == 401
    assert "session.reuse" in actions(runtime, project_id=caller.project_id, object="ben")
    assert refresh(anonymous, third).status_code == 401
    assert elsewhere().get("/v1/me", headers=bearer(third)).status_code == 401


def test_public_keys_are_for_everybody(anonymous):
    answer = anonymous.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=60"
    (key,) = answer.json()["keys"]
    assert key.keys() == {"kid", "kty", "crv", "x", "alg", "use"}


def test_the_form_and_its_cookie_belong_together(anonymous):
    page = anonymous.get("/sign-in")
    nonce = page.cookies[FORM_COOKIE]
    assert form_token_of(nonce) in page.text
    assert nonce not in page.text
    said = page.headers["set-cookie"].lower()
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= {part.strip() for part in said.split(";")}
    assert "domain" not in said
    again = anonymous.get("/sign-in", headers=cookie(FORM_COOKIE, nonce))
    assert again.cookies[FORM_COOKIE] == nonce  # a second tab does not break the first
    assert anonymous.get("/sign-in", headers=cookie(FORM_COOKIE, "short")).cookies[FORM_COOKIE] != "short"


def test_a_browser_signs_in_with_a_cookie_that_no_script_reads(anonymous, browser):
    answer = sign_in_page(anonymous)
    assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
    said = next(text for text in answer.headers.get_list("set-cookie") if text.startswith(SESSION_COOKIE)).lower()
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= {part.strip() for part in said.split(";")}
    assert "domain" not in said
    assert anonymous.get("/v1/me", headers=browser).json()["name"] == "ben"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"password": "wrong"}, 401),
        ({"username": "nobody"}, 401),
        ({"username": "<script>alert(1)</script>"}, 401),
        ({"form_token": "x"}, 403),
        ({"form_token": "é"}, 403),
        ({"nonce": "m" * 43}, 403),
        ({"nonce": ""}, 403),
        ({"headers": {}}, 403),
        ({"headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
        ({"headers": {"Sec-Fetch-Site": "same-site"}}, 403),
        ({"headers": {"Sec-Fetch-Site": "none"}}, 403),
        ({"headers": {"Origin": "null"}}, 403),
        ({"headers": {"Origin": "https://evil.test"}}, 403),
        ({"headers": {"Origin": "http://localhost.evil.test"}}, 403),
        ({"username": "x" * 2000}, 422),
    ],
)
def test_a_form_that_is_refused_is_a_page_without_a_session(anonymous, changes, status):
    answer = sign_in_page(anonymous, **changes)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert SESSION_COOKIE not in answer.cookies
    assert "www-authenticate" not in answer.headers
    assert "<script" not in answer.text
    assert PASSWORD not in answer.text


@pytest.mark.parametrize("headers", [SAME, SAME | {"Origin": "null"}, {"Origin": "http://localhost"}])
def test_a_form_of_our_own_page_is_taken(anonymous, headers):
    assert sign_in_page(anonymous, headers=headers).status_code == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (SAME, 422),  # it got to the body
        ({"Origin": "http://localhost"}, 422),
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_cookie_changes_something_from_our_own_pages_only(anonymous, runtime, headers, status):
    answer = sign_in_page(anonymous, username="ada")
    mine = cookie(SESSION_COOKIE, answer.cookies[SESSION_COOKIE])
    refused = anonymous.post("/v1/components", json={"name": 7}, headers=mine | headers)
    assert refused.status_code == status
    assert status == 422 or refused.json()["code"] == "cross_site"
    assert anonymous.get("/v1/components", headers=mine | headers).status_code == 200


def test_a_token_counts_from_anywhere_also_beside_a_cookie(anonymous, browser):
    tokens = tokens_of(anonymous, "ada")
    crossing = {"Sec-Fetch-Site": "cross-site"}
    answer = anonymous.post("/v1/components", json={"name": 7}, headers=browser | bearer(tokens) | crossing)
    assert answer.status_code == 422


def test_signing_out_ends_the_session_of_the_browser(anonymous, runtime, elsewhere):
    secret = sign_in_page(anonymous).cookies[SESSION_COOKIE]
    mine = cookie(SESSION_COOKIE, secret)
    page = anonymous.get("/sign-out", headers=mine)
    assert "ben" in page.text
    assert form_token_of(secret) in page.text
    assert secret not in page.text
    for form, headers in (({"form_token": "x"}, SAME), ({"form_token": form_token_of(secret)}, {}), ({}, SAME)):
        assert anonymous.post("/sign-out", data=form, headers=mine | headers).status_code in {403, 422}
    assert elsewhere().get("/v1/me", headers=mine).status_code == 200
    answer = anonymous.post("/sign-out", data={"form_token": form_token_of(secret)}, headers=mine | SAME)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert elsewhere().get("/v1/me", headers=mine).status_code == 401
    caller = runtime.access.caller_of_token(tokens_of(anonymous, "ben")["access_token"])
    assert actions(runtime, project_id=caller.project_id, actor="ben", action="session.end")


def test_every_page_has_the_security_headers_and_no_inline_code(anonymous, browser):
    for path in ("/sign-in", "/sign-out"):
        page = anonymous.get(path, headers=browser)
        assert page.status_code == 200
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "same-origin"
        assert "<script" not in page.text
        assert "style=" not in page.text
    assert anonymous.get("/static/pages.css").status_code == 200


def app_with(runtime, **changes):
    settings = runtime.settings.model_copy(update=changes)
    return Client(create_app(replace(runtime, settings=settings)))


def test_outside_demo_mode_a_browser_is_led_to_the_page(runtime, browser):
    client = app_with(runtime, demo=False)
    for path in ("/docs", "/openapi.json"):
        for headers in ({}, cookie(SESSION_COOKIE, "ghs_" + "0" * 43)):
            answer = client.get(path, headers=HTML | headers)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert client.get(path, headers=HTML | browser).status_code == 200
        assert client.get(path).status_code == 401


def test_only_the_names_of_this_machine_are_answered_in_demo_mode(anonymous):
    for host in ("localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "LOCALHOST"):
        assert anonymous.get("/", headers={"Host": host}).status_code == 307, host
    for host in ("evil.test", "localhost.evil.test", "", "127.0.0.1.evil.test:80", "[::2]", "a@localhost"):
        answer = anonymous.get("/", headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "host_refused"), host
        assert anonymous.get("/health", headers={"Host": host}).status_code == 200


def test_names_are_as_the_settings_say(runtime):
    named = app_with(runtime, allowed_hosts="Data.plant.example, other.example", public_url="https://reach.us:444")
    for host, status in (("data.plant.example:8080", 307), ("reach.us", 307), ("localhost", 421)):
        assert named.get("/", headers={"Host": host}).status_code == status, host
    assert app_with(runtime, demo=False).get("/", headers={"Host": "whatever.example"}).status_code == 307


def test_scripts_of_other_sites_read_nothing_unless_they_are_named(anonymous, runtime):
    friend, stranger = ({"Origin": origin} for origin in ("https://plant.example", "https://evil.test"))
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    open_to_friend = app_with(runtime, cors_origins="https://plant.example")
    for client, headers in ((anonymous, friend), (open_to_friend, stranger)):
        answers = [client.get("/v1/me", headers=headers), client.options("/v1/me", headers=headers | asking)]
        for answer in answers:
            assert not [name for name in answer.headers if name.startswith("access-control")]
    read = open_to_friend.get("/v1/me", headers=friend)
    assert (read.status_code, read.headers["access-control-allow-origin"]) == (401, "https://plant.example")
    assert "Origin" in read.headers["vary"]
    asked = open_to_friend.options("/v1/me", headers=friend | asking)
    assert asked.status_code == 204
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in asked.headers


@pytest.mark.parametrize("origins", ["*", "plant.example", "https://plant.example/", "ftp://x.example", "https://"])
def test_what_is_no_origin_is_refused_at_the_start(origins):
    with pytest.raises(StartRefused):
        read_origins(Settings(cors_origins=origins))
