"""The addresses of InfluxDB's clients: who may write, what is answered, what becomes of tags."""

import base64
import gzip

import pytest
from backports import zstd

from gaugehouse.access import create_api_key
from gaugehouse.database.tables import Project

AT_NS = 1_577_836_800_000_000_000
WRITES = ("/api/v2/write?bucket=default&org=plant", "/write?db=default")


@pytest.fixture(scope="module")
def new_key(runtime):
    def make(**wanted):
        with runtime.database.transaction() as session:
            return create_api_key(session, name="telegraf", project="default", **wanted)

    return make


@pytest.fixture(scope="module")
def key(new_key):
    return new_key()


@pytest.fixture(scope="module")
def write(anonymous, key):
    def call(lines, path=WRITES[0], **headers):
        content = lines if isinstance(lines, bytes) else lines.encode()
        return anonymous.post(path, content=content, headers={"Authorization": f"Token {key}"} | headers)

    return call


def rows_of(client, component):
    items = client.get("/v1/measurements", params={"component": component}).json()["items"]
    return {(row["metric"], row["measured_at"]): row["value"] for row in items}


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize(
    "scheme", ["Token {}", "token {}", "Bearer {}", "Basic", "Token any:{}", "X-API-Key", "u and p", "p"]
)
def test_a_key_is_taken_in_every_way_these_clients_send_it(anonymous, key, user, path, scheme):
    headers = {"Authorization": basic("any", key) if scheme == "Basic" else scheme.format(key)}
    if scheme == "X-API-Key":
        headers = {"X-API-Key": key}
    if scheme in {"u and p", "p"}:
        headers, path = {}, f"{path}&p={key}" + ("&u=any" if scheme == "u and p" else "")
    answer = anonymous.post(path, content=f"m,host=auth f=1 {AT_NS}", headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["x-influxdb-version"]
    assert rows_of(user, "auth") == {("m.f", "2020-01-01T00:00:00Z"): 1}


def test_a_managers_token_is_taken_and_a_users_is_not(manager, user):
    assert manager.post(WRITES[0], content=b"m,host=token f=1").status_code == 204
    refused = user.post(WRITES[0], content=b"m,host=token f=1")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("path", [*WRITES, "/query?q=x"])
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Token",
        "Token nonsense",
        "Token ghk_" + "0" * 36,
        "Bearer a.b.c",
        "Basic !",
        "Basic bm9jb2xvbg==",
        "Basic é".encode("latin-1"),
        b"Basic /w==",
        "Digest x",
    ],
)
def test_without_a_key_that_counts_the_answer_is_401_in_their_shape(anonymous, path, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = anonymous.post(path, content=b"m,host=a f=1", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert answer.headers["x-influxdb-error"]
    body = answer.json()
    assert (body["code"] == "unauthorized" and body["message"]) if "v2" in path else body["error"]


def test_only_the_project_of_the_key_can_be_named(write):
    for path in ("/api/v2/write?bucket={}", "/write?db={}"):
        assert write("m,host=a f=1", path.format("default/autogen")).status_code == 204
        assert write("m,host=a f=1", path.format("elsewhere")).status_code == 404
        assert write("m,host=a f=1", path.format("")).status_code == 400
    # Telegraf keeps rows that are refused with these words, and drops those of any other 404.
    assert "database not found" in write("m,host=a f=1", "/write?db=elsewhere").json()["error"]
    assert write("m,host=a f=1", "/api/v2/write?bucket=elsewhere").json()["code"] == "not found"
    assert write("m,host=a f=1", "/api/v2/write").status_code == 400


@pytest.mark.parametrize(
    ("precision", "time"),
    [
        ("", AT_NS),
        ("&precision=ns", AT_NS),
        ("&precision=n", AT_NS),
        ("&precision=us", AT_NS // 1000),
        ("&precision=u", AT_NS // 1000),
        ("&precision=ms", AT_NS // 10**6),
        ("&precision=s", AT_NS // 10**9),
        ("&precision=m", AT_NS // (60 * 10**9)),
        ("&precision=h", AT_NS // (3600 * 10**9)),
    ],
)
@pytest.mark.parametrize("path", WRITES)
def test_every_precision_is_understood(write, user, path, precision, time):
    assert write(f"m,host=precise f=1 {time}", path + precision).status_code == 204
    assert rows_of(user, "precise") == {("m.f", "2020-01-01T00:00:00Z"): 1}
    assert write("m,host=precise f=1", path + "&precision=d").status_code == 400


def test_bad_lines_are_refused_as_a_whole_in_their_shape(write, user):
    lines = f"m,host=whole f=1 {AT_NS}\n\nm,host=whole f=abc {AT_NS}\n"
    second = write(lines)
    assert second.status_code == 400
    assert second.json() == {
        "code": "invalid",
        "message": "1 of the lines cannot be stored, so none was; the first is line 3: 'f' is no number, boolean or"
        " quoted string: 'abc'",
        "line": 3,
    }
    assert second.headers["x-platform-error-code"] == "invalid"
    first = write(lines, WRITES[1])
    assert (first.status_code, first.json()) == (400, {"error": second.json()["message"]})
    assert first.headers["x-influxdb-error"] == second.json()["message"]
    assert user.get("/v1/components/whole").status_code == 404


def test_a_message_that_no_header_can_carry_is_made_plain_there(write):
    answer = write("m,host=a f=é\x07")
    assert answer.status_code == 400
    assert "?" in answer.headers["x-influxdb-error"]
    assert answer.headers["x-influxdb-error"].isascii()


@pytest.mark.parametrize("path", WRITES)
def test_other_refusals_have_their_shape_too(write, anonymous, path):
    name = "error" if path.startswith("/write") else "message"
    too_large = write(b"#" * 70_000, path)
    assert too_large.status_code == 413
    assert too_large.json()[name]
    assert write(b"m,host=a f=1", path, **{"Content-Encoding": "br"}).status_code == 415
    assert write(b"no gzip", path, **{"Content-Encoding": "gzip"}).status_code == 400
    bomb = write(gzip.compress(bytes(50_000_000)), path, **{"Content-Encoding": "gzip"})
    assert (bomb.status_code, bomb.json().keys() & {name}) == (413, {name})
    assert write(b"m,host=\xff f=1", path).status_code == 400
    assert write(b"m,host=a f=1", path + "&nonsense=1").status_code == 400
    wrong_method = anonymous.get(path)
    assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "POST")
    assert wrong_method.json()[name]


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_compressed_bodies_are_taken_everywhere(write, manager, user, encoding, encode):
    lines = "\n".join(f"m,host={encoding} f={i} {AT_NS + i * 10**9}" for i in range(5000)).encode()
    assert len(lines) > 64 * 1024  # what may come over the wire
    assert write(encode(lines), **{"Content-Encoding": encoding}).status_code == 204
    row = b'[{"component":"%s","metric":"json","measured_at":"2020-01-01T00:00:00Z","value":1}]' % encoding.encode()
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    assert manager.post("/v1/measurements", content=encode(row), headers=headers).status_code == 201
    assert manager.post("/v1/metrics", content=encode(b'[{"name":"x"}]'), headers=headers).status_code in {201, 409}
    assert manager.post("/v1/measurements", content=encode(row)[:-1], headers=headers).status_code == 400
    stored = user.get("/v1/summary", params={"component": encoding}).json()["items"]
    assert {item["metric"] for item in stored} == {"m.f", "json"}


def test_repeats_and_conflicts_are_counted_in_a_header(write, user):
    def receipt(value):
        return write(f"m,host=twice f={value} {AT_NS}").headers["x-gaugehouse-receipt"]

    assert receipt(1).startswith("accepted=1, duplicates=0, conflicts=0")
    assert receipt(1).startswith("accepted=0, duplicates=1, conflicts=0")
    assert receipt(2).startswith("accepted=0, duplicates=0, conflicts=1")
    assert rows_of(user, "twice") == {("m.f", "2020-01-01T00:00:00Z"): 1}
    assert user.get("/v1/components/twice/events").json()["items"][0]["kind"] == "conflict"


@pytest.mark.parametrize("path", WRITES)
def test_a_repeated_request_with_a_key_gets_its_first_receipt_again(write, path):
    line = f"m,host=keyed-{len(path)} f=1 {AT_NS}"
    first = write(line, path, **{"Idempotency-Key": "telegraf-1"})
    again = write(line, path, **{"Idempotency-Key": "telegraf-1"})
    assert (first.status_code, again.status_code) == (204, 204)
    assert first.headers["x-gaugehouse-receipt"] == "accepted=1, duplicates=0, conflicts=0, late=0"
    assert again.headers["x-gaugehouse-receipt"] == first.headers["x-gaugehouse-receipt"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert write(line + "1", path, **{"Idempotency-Key": "telegraf-1"}).status_code == 422
    other_times = write(line, f"{path}&precision=us", **{"Idempotency-Key": "telegraf-1"})
    assert other_times.status_code == 422
    assert write(line, path, **{"Idempotency-Key": "short"}).status_code == 400
    empty = [write("# nothing", path, **{"Idempotency-Key": "telegraf-2"}).headers for _ in range(2)]
    assert [told.get("idempotency-replayed") for told in empty] == [None, "true"]


def test_strings_become_events_and_booleans_numbers(write, user):
    assert write(f'system,host=mixed uptime=5i,ok=t,uptime_format="1 day, \\"5:00\\"" {AT_NS}').status_code == 204
    assert rows_of(user, "mixed") == {
        ("system.ok", "2020-01-01T00:00:00Z"): 1,
        ("system.uptime", "2020-01-01T00:00:00Z"): 5,
    }
    event = user.get("/v1/components/mixed/events").json()["items"][0]
    assert (event["kind"], event["body"]) == ("system.uptime_format", '1 day, "5:00"')


def test_tags_become_labels_on_first_sight_and_never_change_one(write, user, manager):
    def labels():
        return user.get("/v1/components/labelled").json()["labels"]

    write(f"m,host=labelled,region=eu,line=A f=1 {AT_NS}")
    assert labels() == {"region": "eu", "line": "A"}
    write(f"m,host=labelled,region=us,rack=7 f=2 {AT_NS + 10**9}")
    assert labels() == {"region": "eu", "line": "A", "rack": "7"}
    manager.patch("/v1/components/labelled", json={"labels": {"line": "B"}})
    write(f"m,host=labelled,line=A f=3 {AT_NS + 2 * 10**9}")
    assert labels()["line"] == "B"


def test_labels_that_the_inventory_does_not_take_are_left_out(write, user):
    tags = "".join(f",t{i:02d}=x" for i in range(20))
    long = "k" * 65
    assert write(f"m,host=many,{long}=x,ok={'v' * 300},a\\\\b=c{tags} f=1 {AT_NS}").status_code == 204
    assert sorted(user.get("/v1/components/many").json()["labels"]) == [f"t{i:02d}" for i in range(16)]


def test_a_key_of_one_component_writes_and_labels_that_one_only(anonymous, new_key, user):
    headers = {"Authorization": f"Token {new_key(component='mine')}"}
    assert anonymous.post(WRITES[0], content=f"m,host=mine f=1 {AT_NS}", headers=headers).status_code == 204
    both = f"m,host=mine f=2 {AT_NS + 1000}\nm,host=other,line=A f=1 {AT_NS}"
    refused = anonymous.post(WRITES[0], content=both, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert user.get("/v1/components/other").status_code == 404
    assert len(rows_of(user, "mine")) == 1


def test_strings_need_the_scope_of_events(anonymous, new_key):
    headers = {"Authorization": f"Token {new_key(scopes=['measurements:write'])}"}
    assert anonymous.post(WRITES[0], content=b"m,host=scoped f=1", headers=headers).status_code == 204
    refused = anonymous.post(WRITES[0], content=b'm,host=scoped f="x"', headers=headers)
    assert refused.status_code == 403
    assert "events:write" in refused.json()["message"]
    reader = {"Authorization": f"Token {new_key(scopes=['measurements:read'])}"}
    assert anonymous.post(WRITES[0], content=b"m,host=scoped f=1", headers=reader).status_code == 403


def test_a_project_that_takes_no_new_names_takes_none_from_lines(runtime, write, user):
    assert write(f"m,host=known,a=b f=1 {AT_NS}").status_code == 204

    def allow(is_allowed):
        with runtime.database.transaction() as session:
            session.query(Project).filter_by(slug="default").update({"register_unknown": is_allowed})

    allow(False)
    try:
        assert write(f"m,host=known,c=d f=2 {AT_NS + 1000}").status_code == 204
        refused = write(f"m,host=known f=2\nm,host=unknown f=1,g=2 {AT_NS}")
        assert (refused.status_code, refused.json()["line"]) == (400, 2)
        assert "component is not registered" in refused.json()["message"]
        assert "metric is not registered" in write("m,host=known unheard=2").json()["message"]
    finally:
        allow(True)
    assert user.get("/v1/components/known").json()["labels"] == {"a": "b"}
    assert user.get("/v1/components/unknown").status_code == 404


def test_nothing_but_comments_is_fine(write):
    assert write("# nothing\n\n").status_code == 204
    assert write("").status_code == 204


def test_ping_and_query_answer_what_clients_ask_first(anonymous, key):
    for method in ("GET", "HEAD"):
        answer = anonymous.request(method, "/ping")
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["x-influxdb-version"]
    authorization = {"Authorization": basic("telegraf", key)}
    created = anonymous.post("/query", data={"q": 'CREATE DATABASE "default"'}, headers=authorization)
    asked = anonymous.get("/query", params={"q": "SHOW DATABASES"}, headers=authorization)
    assert created.status_code == asked.status_code == 200
    assert created.json() == asked.json() == {"results": [{"statement_id": 0}]}
    assert anonymous.get("/health").json() == {"status": "ok"}
