"""Members over HTTP, and the one-time links by which people become members or set new passwords."""

import re
import socket
from dataclasses import replace
from email import message_from_bytes, policy

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import select, update

from asgi_client import Client
from gaugehouse.access import create_user, grant_role
from gaugehouse.database import database_now
from gaugehouse.database.tables import OneTimeLink, User
from gaugehouse.inventory import create_project
from gaugehouse.web.app import create_app

PASSWORD, NEXT_PASSWORD = "a long enough password", "the next long password"
PUBLIC_URL = "https://gauges.example"


@pytest.fixture(scope="module")
def other(runtime):
    """A second project; olga is its admin."""
    with runtime.database.transaction() as session:
        project = create_project(session, "other")
        create_user(session, name="olga", password=PASSWORD, role="admin", project="other")
    return project


@pytest.fixture(autouse=True)
def _patient(app):
    """Let no test pay for the links that another one used."""
    app.state.paces._strangers._full_at_ns.clear()


def add(runtime, name, *, role="viewer", project="default", email=None):
    with runtime.database.transaction() as session:
        user_id = create_user(session, name=name, password=PASSWORD, role=role, project=project)
        session.execute(update(User).where(User.id == user_id).values(email=email))
    return user_id


def signs_in(client, name, password):
    return client.post("/token", data={"username": name, "password": password}).status_code == 200


def as_user(client, name, password=PASSWORD, project=""):
    form = {"username": name, "password": password} | ({"project": project} if project else {})
    answer = client.post("/token", data=form)
    assert answer.status_code == 200, answer.text
    return client.with_headers(Authorization=f"Bearer {answer.json()['access_token']}")


def forget(runtime):
    """Let the next question be asked anew: as if a second had passed."""
    runtime.access._standings._answers.clear()
    runtime.access._keys._answers.clear()


def codes(*answers):
    return [(answer.status_code, answer.json().get("code")) for answer in answers]


# --- members ---


def test_admins_create_see_change_and_remove_members(admin, anonymous, runtime):
    body = {"name": "nina", "password": PASSWORD, "role": "viewer"}
    made = admin.post("/v1/members", json=body)
    assert (made.status_code, made.json()["role"]) == (201, "viewer")
    assert "password" not in made.text
    assert made.json() in admin.get("/v1/members", params={"limit": 1000}).json()["items"]
    nina = as_user(anonymous, "nina")
    assert nina.post("/v1/components", json={"name": "ninas"}).status_code == 403
    assert admin.patch("/v1/members/nina", json={"role": "manager"}).json()["role"] == "manager"
    forget(runtime)
    assert as_user(anonymous, "nina").post("/v1/components", json={"name": "ninas"}).status_code == 201
    assert admin.delete(f"/v1/members/{made.json()['id']}").status_code == 200
    forget(runtime)
    assert nina.get("/v1/me").status_code == 401
    assert codes(admin.delete("/v1/members/nina")) == [(404, "member_not_found")]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"name": "admin"}, 409, "user_exists"),
        ({"name": "a:b"}, 422, "name_refused"),
        ({"password": "short"}, 422, "password_refused"),
        ({"password": "passwordpassword"}, 422, "password_common"),
        ({"role": "king"}, 422, "role_refused"),
        ({"project": "other"}, 422, "request_refused"),
    ],
)
def test_a_member_that_cannot_be_is_refused(admin, changes, status, code):
    body = {"name": "norbert", "password": PASSWORD, "role": "viewer"} | changes
    assert codes(admin.post("/v1/members", json=body)) == [(status, code)]


def test_the_last_admin_stays_until_there_is_another(admin, runtime):
    one = "/v1/members/admin"
    assert codes(admin.patch(one, json={"role": "viewer"}), admin.delete(one)) == [(409, "last_admin")] * 2
    add(runtime, "anton", role="admin")
    with runtime.database.transaction() as session:
        session.execute(update(User).where(User.name == "anton").values(disabled_at=database_now()))
    assert codes(admin.delete(one)) == [(409, "last_admin")]  # who cannot sign in does not count
    with runtime.database.transaction() as session:
        session.execute(update(User).where(User.name == "anton").values(disabled_at=None))
    assert admin.patch("/v1/members/anton", json={"role": "admin"}).status_code == 200
    assert admin.patch("/v1/members/anton", json={"role": "manager"}).status_code == 200


def test_members_of_another_project_are_not_there(admin, runtime, other):
    with runtime.database.reading() as session:
        user_id = session.scalar(select(User.id).where(User.name == "olga"))
    for name in ("olga", user_id):
        for method, part, body in (
            ("PATCH", "", {"role": "viewer"}),
            ("DELETE", "", None),
            ("POST", "/password-reset", None),
        ):
            asked = [
                admin.request(method, f"/v1/members/{who}{part}", **({"json": body} if body else {}))
                for who in (name, "nobody")
            ]
            assert codes(*asked) == [(404, "member_not_found")] * 2
            assert len({answer.json()["detail"] for answer in asked}) == 1
    assert "olga" not in admin.get("/v1/members", params={"limit": 1000}).text


# --- passwords ---


def test_people_change_their_password_with_the_old_one_and_all_tokens_end(runtime, anonymous):
    add(runtime, "paula")
    paula = as_user(anonymous, "paula")
    wrong = {"old_password": "a wrong old password", "new_password": NEXT_PASSWORD}
    assert codes(paula.post("/v1/me/password", json=wrong)) == [(401, "login_refused")]
    common = {"old_password": PASSWORD, "new_password": "passwordpassword"}
    assert codes(paula.post("/v1/me/password", json=common)) == [(422, "password_common")]
    right = {"old_password": PASSWORD, "new_password": NEXT_PASSWORD}
    assert paula.post("/v1/me/password", json=right).status_code == 204
    forget(runtime)
    assert paula.get("/v1/me").status_code == 401
    assert [signs_in(anonymous, "paula", text) for text in (PASSWORD, NEXT_PASSWORD)] == [False, True]


def test_guesses_at_the_old_password_are_throttled_as_sign_ins_are(runtime, anonymous):
    add(runtime, "petra")
    petra = as_user(anonymous, "petra")
    body = {"old_password": "a wrong old password", "new_password": NEXT_PASSWORD}
    statuses = [petra.post("/v1/me/password", json=body).status_code for _ in range(8)]
    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429
    runtime.access._throttle.__init__()  # the other tests share the address


def test_an_admins_link_sets_a_new_password_once(runtime, admin, anonymous):
    add(runtime, "rosa")
    rosa = as_user(anonymous, "rosa")
    made = admin.post("/v1/members/rosa/password-reset").json()
    assert re.fullmatch(r"ghl_[0-9A-Za-z]{36}", made["token"])
    assert (made["link"], made["is_mailed"]) == (None, False)
    body = {"token": made["token"], "password": "short"}
    assert codes(anonymous.post("/v1/password-reset/confirm", json=body)) == [(422, "password_refused")]
    body = {"token": made["token"], "password": NEXT_PASSWORD}
    assert anonymous.post("/v1/password-reset/confirm", json=body).status_code == 204
    assert codes(anonymous.post("/v1/password-reset/confirm", json=body)) == [(422, "link_refused")]
    forget(runtime)
    assert rosa.get("/v1/me").status_code == 401
    assert [signs_in(anonymous, "rosa", text) for text in (PASSWORD, NEXT_PASSWORD)] == [False, True]


def test_an_admin_makes_no_link_for_somebody_of_other_projects_as_well(runtime, admin, anonymous, other):
    add(runtime, "rita")
    with runtime.database.transaction() as session:
        grant_role(session, name="rita", project="other", role="viewer")
    assert codes(admin.post("/v1/members/rita/password-reset")) == [(403, "not_yours")]
    operator = anonymous.with_headers(Authorization=f"Bearer {runtime.access.issue_operator_token('default')}")
    assert operator.post("/v1/members/rita/password-reset").status_code == 201


def grant(runtime, _anonymous, name):
    with runtime.database.transaction() as session:
        grant_role(session, name=name, project="other", role="viewer")


def accept(runtime, anonymous, name):
    operator = anonymous.with_headers(Authorization=f"Bearer {runtime.access.issue_operator_token('other')}")
    token = operator.post("/v1/invitations", json={"role": "viewer"}).json()["token"]
    body = {"token": token, "name": name, "password": PASSWORD}
    assert anonymous.post("/v1/invitations/accept", json=body).status_code == 200


@pytest.mark.parametrize("join", [grant, accept])
def test_who_joins_another_project_is_out_of_reach_of_links_that_an_admin_has_kept(
    runtime, admin, anonymous, other, join
):
    name = f"rabea-{join.__name__}"
    add(runtime, name)
    kept = admin.post(f"/v1/members/{name}/password-reset").json()["token"]
    join(runtime, anonymous, name)
    body = {"token": kept, "password": NEXT_PASSWORD}
    assert codes(anonymous.post("/v1/password-reset/confirm", json=body)) == [(422, "link_refused")]
    assert [signs_in(anonymous, name, text) for text in (PASSWORD, NEXT_PASSWORD)] == [True, False]


@pytest.mark.parametrize("token", ["", "ghl_", "ghl_" + "0" * 36, "\u00e9" * 40, "x" * 4000])
def test_texts_that_are_no_links_are_refused_alike(anonymous, token):
    for path, body in (
        ("/v1/password-reset/confirm", {"password": NEXT_PASSWORD}),
        ("/v1/invitations/accept", {"name": "admin", "password": PASSWORD}),
    ):
        assert codes(anonymous.post(path, json=body | {"token": token})) == [(422, "link_refused")]


def test_links_that_are_too_old_count_no_more(runtime, admin, anonymous):
    add(runtime, "romy")
    token = admin.post("/v1/members/romy/password-reset").json()["token"]
    with runtime.database.transaction() as session:
        session.execute(update(OneTimeLink).values(expires_at=database_now(-1)))
    body = {"token": token, "password": NEXT_PASSWORD}
    assert codes(anonymous.post("/v1/password-reset/confirm", json=body)) == [(422, "link_refused")]


def test_only_the_hash_of_a_link_is_stored(runtime, admin):
    token = admin.post("/v1/invitations", json={"role": "viewer"}).json()["token"]
    with runtime.database.reading() as session:
        for row in session.scalars(select(OneTimeLink)).all():
            assert not any(token[4:20] in str(getattr(row, column.key)) for column in OneTimeLink.__table__.columns)


# --- invitations ---


def test_an_invitation_makes_a_new_user_a_member_once(admin, anonymous):
    made = admin.post("/v1/invitations", json={"role": "manager"}).json()
    body = {"token": made["token"], "name": "ines", "password": PASSWORD}
    answer = anonymous.post("/v1/invitations/accept", json=body)
    assert (answer.status_code, answer.json()["role"]) == (200, "manager")
    assert as_user(anonymous, "ines").get("/v1/me").json()["scopes"] == ["manager", "user"]
    again = body | {"name": "ingo"}
    assert codes(anonymous.post("/v1/invitations/accept", json=again)) == [(422, "link_refused")]
    listed = admin.get("/v1/invitations").json()["items"]
    assert next(one for one in listed if one["id"] == made["id"])["used_at"] is not None
    assert not any("token" in one for one in listed)


def test_a_user_of_another_project_accepts_with_their_own_password(runtime, admin, anonymous, other):
    token = admin.post("/v1/invitations", json={"role": "viewer"}).json()["token"]
    body = {"token": token, "name": "olga", "password": "a guess of somebody"}
    assert codes(anonymous.post("/v1/invitations/accept", json=body)) == [(401, "login_refused")]
    assert anonymous.post("/v1/invitations/accept", json=body | {"password": PASSWORD}).status_code == 200
    assert as_user(anonymous, "olga", project="default").get("/v1/me").json()["scopes"] == ["user"]
    assert "admin" in as_user(anonymous, "olga", project="other").get("/v1/me").json()["scopes"]


def test_who_is_a_member_already_stays_what_they_are_and_the_link_stays_unused(runtime, admin, anonymous):
    add(runtime, "ivan", role="manager")
    token = admin.post("/v1/invitations", json={"role": "viewer"}).json()["token"]
    body = {"token": token, "name": "ivan", "password": PASSWORD}
    assert codes(anonymous.post("/v1/invitations/accept", json=body)) == [(409, "already_member")]
    assert "manager" in as_user(anonymous, "ivan").get("/v1/me").json()["scopes"]
    assert anonymous.post("/v1/invitations/accept", json=body | {"name": "irma"}).status_code == 200


def test_a_withdrawn_invitation_counts_no_more(admin, anonymous, runtime, other):
    made = admin.post("/v1/invitations", json={"role": "admin"}).json()
    olga = as_user(anonymous, "olga", project="other")
    path = f"/v1/invitations/{made['id']}"
    assert codes(olga.delete(path)) == [(404, "invitation_not_found")]
    assert made["id"] not in olga.get("/v1/invitations").text
    assert admin.delete(path).status_code == 200
    body = {"token": made["token"], "name": "iwan", "password": PASSWORD}
    assert codes(anonymous.post("/v1/invitations/accept", json=body)) == [(422, "link_refused")]


@pytest.mark.parametrize("wanted", [{"role": "king"}, {"role": "viewer", "email": "nobody"}, {}])
def test_an_invitation_that_cannot_be_is_refused(admin, wanted):
    assert admin.post("/v1/invitations", json=wanted).status_code == 422


# --- mail ---


class Mailbox:
    def __init__(self):
        self.messages = []

    async def handle_DATA(self, _server, _session, envelope):
        self.messages.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 taken"


@pytest.fixture
def mailed(runtime):
    """An application that has a mail server, and what it sent."""
    mailbox = Mailbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    changes = {
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_security": "none",
        "public_url": f"{PUBLIC_URL}/",
    }
    app = create_app(replace(runtime, settings=runtime.settings.model_copy(update=changes)))
    yield Client(app), mailbox, app.state.postman
    controller.stop()


def test_an_invitation_is_mailed_and_its_link_says_where(mailed, admin):
    client, mailbox, postman = mailed
    body = {"role": "viewer", "email": "mia@example.com"}
    made = client.post("/v1/invitations", json=body, headers=admin.headers).json()
    assert made["link"] == f"{PUBLIC_URL}/b/account#invitation={made['token']}"
    assert made["is_mailed"]
    postman.wait()
    [(to, message)] = mailbox.messages
    assert to == ["mia@example.com"]
    assert made["link"] in message.get_content()


def test_a_forgotten_password_is_mailed_to_whom_it_belongs_and_nobody_else_can_tell(mailed, runtime):
    client, mailbox, postman = mailed
    add(runtime, "mona", email="mona@example.com")
    add(runtime, "max")
    answers = [
        client.post("/v1/password-reset", json={"account": account})
        for account in ("mona", "mona@example.com", "max", "nobody", "nobody@example.com")
    ]
    assert {(answer.status_code, answer.content) for answer in answers} == {(202, b"")}
    postman.wait()
    assert [to for to, _ in mailbox.messages] == [["mona@example.com"]] * 2
    token = re.search(r"#reset=(ghl_\w+)", mailbox.messages[-1][1].get_content())[1]
    body = {"token": token, "password": NEXT_PASSWORD}
    assert client.post("/v1/password-reset/confirm", json=body).status_code == 204
    assert signs_in(client, "mona", NEXT_PASSWORD)
    older = re.search(r"#reset=(ghl_\w+)", mailbox.messages[0][1].get_content())[1]
    assert codes(client.post("/v1/password-reset/confirm", json=body | {"token": older})) == [(422, "link_refused")]


def test_nobodys_mailbox_is_filled_and_no_address_asks_for_ever(mailed, runtime):
    client, mailbox, postman = mailed
    add(runtime, "marta", email="marta@example.com")
    statuses = [client.post("/v1/password-reset", json={"account": "marta"}).status_code for _ in range(25)]
    assert statuses[:20] == [202] * 20
    assert 429 in statuses[20:]
    postman.wait()
    assert len(mailbox.messages) == 3
