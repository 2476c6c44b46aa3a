"""Requests that are hostile before anybody reads their body: encodings, framing, heads, parameters, other routes."""

import base64
import gzip
import random
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlencode

from backports import zstd

from damage import WAYS, mutate
from faults.hostile_texts import (
    DAY,
    FORMS,
    INSTANTS,
    JSON_SHAPES,
    LARGEST_BODY_BYTES,
    MEBIBYTE,
    NUMBERS,
    OBJECTS,
    SIZES,
    TEXTS,
    good_body,
    good_rows,
    render,
    utf8,
)
from payloads import JSON

STEADY = "steady"  # a component that exists
PATHS = {"measurements": "/v1/measurements", "events": "/v1/events", "lines": "/api/v2/write"}
UNITS = ("s", "ms", "us", "ns")
MOST_HEAD_BYTES = 60_000  # a little less than the server takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One hostile request.

    Args:
        path: Where it goes, without its query.
        parts: What is written, one after the other.
        method: Of the request.
        is_http: Whether it must be answered; to what is no sound HTTP a closed connection is an answer too.
        ends_early: Whether the sender stops in the middle.
    """

    path: str
    parts: tuple[bytes, ...]
    method: str = "POST"
    is_http: bool = True
    ends_early: bool = False


class Operation(NamedTuple):
    """What an address takes: the names of its query fields, its media types, the names in its JSON object."""

    method: str
    path: str
    fields: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    members: tuple[str, ...] = ()


UNDESCRIBED = (
    Operation("POST", "/write", ("db", "precision", "rp", "consistency", "u", "p"), ("text/plain",)),
    Operation("POST", "/api/v2/write", ("bucket", "precision", "org", "orgID"), ("text/plain",)),
    Operation("GET", "/query", ("q", "db", "u", "p")),
    Operation("POST", "/query", ("q", "db", "u", "p"), ("application/x-www-form-urlencoded",)),
    Operation("GET", "/ping", ("verbose",)),
    Operation("GET", "/docs"),
    Operation("GET", "/openapi.json"),
    Operation("GET", "/static/docs.js"),
    Operation("GET", "/nowhere"),
)


def read_operations(description):
    """Return the operations of an OpenAPI description, and those that it does not name."""
    found = list(UNDESCRIBED)
    for path, methods in description["paths"].items():
        for method, told in methods.items():
            if method == "head":  # its refusals have no body
                continue
            fields = tuple(field["name"] for field in told.get("parameters", ()) if field["in"] == "query")
            content = told.get("requestBody", {}).get("content", {})
            schemas = [form.get("schema", {}) for form in content.values()]
            members = tuple(dict.fromkeys(name for schema in schemas for name in _members(schema, description)))
            found.append(Operation(method.upper(), path, fields, tuple(content), members))
    return tuple(found)


def _members(schema, description):
    """Yield the names of an object's members, however deep the object is wrapped."""
    if "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    yield from schema.get("properties", ())
    for wrapped in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), schema.get("items", {})):
        if wrapped:
            yield from _members(wrapped, description)


# --- sound HTTP


def write_request(method, target, headers, body=b""):
    """Return a request with its length."""
    return write_head(f"{method} {target} HTTP/1.1", [*_lines(headers), f"Content-Length: {len(body)}"]) + body


def write_head(first_line, lines):
    return utf8("\r\n".join([first_line, "Host: gaugehouse", "Connection: close", *lines, "", ""]))


def _lines(headers):
    return [f"{name}: {value}" for name, value in headers.items()]


def write_chunks(body, rng):
    """Return a body as chunks of odd sizes, oddly announced."""
    parts, at = [], 0
    while at < len(body):
        size = rng.choice((1, 2, 7, 1000, 65_536)) if len(body) < 10_000 else rng.choice((5000, 65_536))
        chunk = body[at : at + size]
        size_line = rng.choice(("{:x}", "{:X}", "{:08x}", '{:x};a="b"', "{:x};x")).format(len(chunk))
        parts.append(b"%b\r\n%b\r\n" % (size_line.encode(), chunk))
        at += size
    return (*parts, rng.choice((b"0\r\n\r\n", b"0\r\nX-Trailer: 1\r\n\r\n", b"000\r\n\r\n")))


def credentials(aim):
    return {"X-API-Key": aim.target.key}


def as_manager(aim):
    return {"Authorization": f"Bearer {aim.target.token}"}


def wish(aim, table):
    """Return query fields that may stand beside a delivery."""
    if table == "lines":
        return {"bucket": "default", "precision": aim.rng.choice(("ns", "ns", "us", "ms", "s", "h"))}
    wishes = {"partial": "true"} if aim.rng.random() < 0.3 else {}
    return wishes | ({"time_unit": aim.rng.choice(UNITS)} if aim.rng.random() < 0.1 else {})


def target_of(path, fields):
    return f"{path}?{urlencode(fields)}" if fields else path


def deliver(aim, body, *, encoding=None):
    """Return the delivery of a body in one of the ways that there are."""
    path = PATHS[body.table]
    headers = credentials(aim) | {"Content-Type": body.media_type}
    if aim.rng.random() < 0.2:
        headers["Idempotency-Key"] = f"delivery-{aim.tag}"
    content = body.content
    if encoding is None and aim.rng.random() < 0.1:
        encoding = aim.rng.choice(tuple(ENCODE))
        content = ENCODE[encoding](content)
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    target = target_of(path, wish(aim, body.table))
    if aim.rng.random() < 0.1:
        head = write_head(f"POST {target} HTTP/1.1", [*_lines(headers), "Transfer-Encoding: chunked"])
        return Attack(path=path, parts=(head, *write_chunks(content, aim.rng)))
    return Attack(path=path, parts=(write_request("POST", target, headers, content),))


# --- encodings


def _gzip(content):
    return gzip.compress(content, 6, mtime=0)


ENCODE = {"gzip": _gzip, "zstd": zstd.compress, "x-gzip": _gzip}
LABELS = (
    "br",
    "deflate",
    "compress",
    "identity, gzip",
    "gzip, gzip",
    "GZIP",
    "gzip;q=1",
    "*",
    "",
    "zstd,",
    "\u00ff",
    "identity",
)


def encodings(aim):
    """A sound body, not quite as its Content-Encoding says."""
    body = good_body(aim, aim.rng.choice(FORMS))
    encoding, rng = aim.rng.choice(tuple(ENCODE)), aim.rng
    encode, content = ENCODE[encoding], body.content
    encoded, cut = encode(content), rng.randrange(len(content))
    label, spoilt = rng.choice(
        (
            (encoding, encoded[: rng.randrange(len(encoded))]),
            (encoding, mutate(encoded, rng)),
            (encoding, encode(content[:cut]) + encode(content[cut:])),
            (encoding, encoded + encoded[: rng.randrange(len(encoded))]),
            (encoding, encoded + b"\0" * rng.randint(1, 100)),
            (encoding, encode(encoded)),
            (encoding, encoded + rng.choice(tuple(ENCODE.values()))(content)),
            (encoding, content),
            (encoding, zlib.compress(content)),
            (rng.choice(tuple(ENCODE)), encoded),
            (None, encoded),
            (rng.choice(LABELS), encoded),
        )
    )
    if label is None:
        headers = credentials(aim) | {"Content-Type": body.media_type}
        request = write_request("POST", target_of(PATHS[body.table], wish(aim, body.table)), headers, spoilt)
        return Attack(path=PATHS[body.table], parts=(request,))
    return deliver(aim, body._replace(content=spoilt), encoding=label)


EMPTY_FRAME = zstd.compress(b"")
SKIPPED_FRAME = struct.pack("<II", 0x184D2A50, 0)
EMPTY_BLOCK = b"\0\0\0\xff\xff"  # of a deflate stream: stored, of no bytes
GZIP_HEAD = bytes.fromhex("1f8b0800000000000003")
BOMBS = [
    lambda: ("gzip", _gzip(bytes(100 * MEBIBYTE))),
    lambda: ("gzip", _gzip(b" " * (63 * MEBIBYTE) + b"[]")),
    lambda: ("gzip", _gzip(b"[" * (60 * MEBIBYTE))),
    lambda: ("gzip", _gzip(b"{}\n" * (20 * MEBIBYTE))),
    lambda: ("gzip", _gzip(_gzip(bytes(100 * MEBIBYTE)))),
    lambda: ("gzip", _gzip(bytes(MEBIBYTE)) * 500),
    lambda: ("gzip", _gzip(b"") * (LARGEST_BODY_BYTES // len(_gzip(b"")))),
    lambda: ("gzip", GZIP_HEAD + EMPTY_BLOCK * (LARGEST_BODY_BYTES // 5 - 10)),
    lambda: ("gzip", bytes.fromhex("1f8b0808000000000003") + b"n" * (LARGEST_BODY_BYTES - 20)),
    lambda: ("zstd", zstd.compress(bytes(100 * MEBIBYTE))),
    lambda: ("zstd", zstd.compress(b"[]" * (30 * MEBIBYTE))),
    lambda: ("zstd", zstd.compress(b"\n" * (63 * MEBIBYTE))),
    lambda: ("zstd", zstd.compress(zstd.compress(bytes(100 * MEBIBYTE)))),
    lambda: ("zstd", EMPTY_FRAME * (LARGEST_BODY_BYTES // len(EMPTY_FRAME))),
    lambda: ("zstd", SKIPPED_FRAME * (LARGEST_BODY_BYTES // len(SKIPPED_FRAME))),
    lambda: ("zstd", struct.pack("<IBB", 0xFD2FB528, 0, 0xFF) + bytes(1000)),  # a window of 3.75 TiB
    lambda: ("zstd", zstd.compress(b"x" * 1000, options={zstd.CompressionParameter.window_log: 27})),
]


@lru_cache(maxsize=len(BOMBS))
def _bomb(number):
    return BOMBS[number]()


TEXTS_OF_BOMBS = ("json", "columns", "ndjson", "csv", "lines", f"events of {JSON}")


def bombs(aim):
    """A body that is small on the wire and large, or much work, behind it."""
    encoding, content = _bomb(aim.rng.randrange(len(BOMBS)))
    body = good_body(aim, aim.rng.choice((*TEXTS_OF_BOMBS, "arrow")))
    return deliver(aim, body._replace(content=content), encoding=encoding)


FILLERS = (
    b"\n",
    b" ",
    b"\r\n",
    b"{}\n",
    b"[",
    b"1,",
    b'"",',
    b"{},",
    b"\\",
    b'"',
    b",",
    b"#\n",
    b"a=1,",
    b"\0",
    b"9",
    b"[]\n",
)
ROOM_BYTES = 60 * MEBIBYTE


@lru_cache(maxsize=1)
def _noise():
    """Return text that hardly gets smaller, in lines; with it a bomb stays below the ratio that is refused."""
    text = base64.b64encode(random.Random(0).randbytes(MEBIBYTE // 2))  # noqa: S311 - only incompressible
    return b"\n".join(text[at : at + 1000] for at in range(0, len(text), 1000))


def fillings(aim):
    """As much as may be of one thing, no more compressed than may be, before or behind a sound body."""
    body = good_body(aim, aim.rng.choice(TEXTS_OF_BOMBS))
    filler = aim.rng.choice(FILLERS)
    filling = filler * (ROOM_BYTES // len(filler))
    parts = aim.rng.choice(
        ((body.content, b"\n", filling, _noise()), (filling, body.content), (body.content, b"\nx\n", filling, _noise()))
    )
    content = zstd.compress(b"".join(parts), 1)
    return deliver(aim, body._replace(content=content), encoding="zstd")


# --- framing

LENGTHS = (
    ["Content-Length: {n}", "Transfer-Encoding: chunked"],
    ["Transfer-Encoding: chunked", "Content-Length: 3"],
    ["Content-Length: {n}", "Content-Length: {n}"],
    ["Content-Length: {n}", "Content-Length: 1"],
    ["Content-Length: 1"],
    ["Content-Length: 0"],
    [],
    *([f"Content-Length: {length}"] for length in (-1, "+{n}", "0x10", "1e3", "{n} {n}", "{n}, {n}", "9" * 30, 2**63, 2**64, "", "{n};")),
    ["Content-Length : {n}"],
    ["Content_Length: {n}"],
    ["Content-Length:{n}", " 7"],
    *([f"Transfer-Encoding: {te}"] for te in ("gzip, chunked", "chunked, chunked", "identity", "xchunked", "chunked;q=1", "", "\x0bchunked")),
    ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
)  # fmt: skip
SIZE_LINES = (
    "f" * 16,
    "f" * 17,
    "-1",
    "+5",
    "0x5",
    " 5",
    "5 5",
    "",
    "g",
    "5;" + "e" * 100_000,
    '5;a="',
    "\u0665",
    "5\0",
)


def lengths(aim):
    """A body whose length is told twice, wrongly or not at all."""
    content = WAYS["json"][1](good_rows(aim))
    lines = [line.format(n=len(content)) for line in aim.rng.choice(LENGTHS)]
    wire = aim.rng.choice((content, b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)))
    return _unsound(aim, lines, wire)


def chunks(aim):
    """Chunks that are announced wrongly, torn, or followed by too much."""
    content, rng = WAYS["json"][1](good_rows(aim)), aim.rng
    sound = b"%x\r\n%b\r\n" % (len(content), content)
    wire = rng.choice(
        (
            b"%b\r\n%b\r\n0\r\n\r\n" % (utf8(rng.choice(SIZE_LINES)), content),
            b"%x\n%b\n0\n\n" % (len(content), content),
            b"%x\r\n%b0\r\n\r\n" % (len(content) + rng.choice((-1, 1, 100)), content),
            sound + b"0\r\n" + b"X: y\r\n" * rng.choice((1, 20_000)) + b"\r\n",
            sound + b"0\r\nContent-Length: 1\r\nX-API-Key: x\r\n\r\n",
            sound,
            sound + b"0\r\n",
            sound[: rng.randrange(len(sound))],
        )
    )
    return _unsound(aim, ["Transfer-Encoding: chunked"], wire, ends_early=not wire.endswith(b"0\r\n\r\n"))


def abandoned(aim):
    """A sender that goes away in the middle."""
    content = WAYS["json"][1](good_rows(aim))
    cut = aim.rng.randrange(len(content))
    return _unsound(aim, [f"Content-Length: {len(content)}"], content[:cut], ends_early=True)


def _unsound(aim, lines, wire, *, ends_early=False):
    path = aim.rng.choice(("/v1/measurements", "/v1/events", "/v1/measurements"))
    head = write_head(f"POST {path} HTTP/1.1", [*_lines(credentials(aim)), f"Content-Type: {JSON}", *lines])
    return Attack(path=path, parts=(head, wire), is_http=False, ends_early=ends_early)


# --- heads

FIRST_LINES = [
    "BREW /v1/measurements HTTP/1.1", "post /v1/measurements HTTP/1.1", "GET /health HTTP/9.9", "GET /health HTTP/1.0", "GET /health",
    "OPTIONS * HTTP/1.1", "CONNECT a:1 HTTP/1.1", "TRACE /health HTTP/1.1", "GET http://evil/health HTTP/1.1", "GET //evil/ HTTP/1.1",
    "GET /\0 HTTP/1.1", "GET /%00 HTTP/1.1", "GET /%ff HTTP/1.1", "GET /%ud800 HTTP/1.1", "GET /\u00ff HTTP/1.1", "GET  /health HTTP/1.1",
    "GET /..%2f..%2f..%2fetc%2fpasswd HTTP/1.1", "GET /static/../../../etc/passwd HTTP/1.1", "GET /static/%2e%2e/app.py HTTP/1.1",
    "GET /static/..%5c..%5capp.py HTTP/1.1", "GET /static/%00 HTTP/1.1", "GET /static//etc/passwd HTTP/1.1", "GET /static/" + "a" * 5000
    + " HTTP/1.1", "GET /" + "a" * 9000 + " HTTP/1.1", "GET /" + "a" * 70_000 + " HTTP/1.1", "GET /?" + "a=1&" * 2000 + " HTTP/1.1",
    "GET /v1/components/" + "%2f" * 2000 + " HTTP/1.1", "PRI * HTTP/2.0", "GET /health HTTP/1.1\r\nHost: again", " ", "\r\n" * 500,
    "SSH-2.0-x", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET /docs;a=b HTTP/1.1", "GET #x HTTP/1.1", "HTTP/1.1 200 OK",
]  # fmt: skip
HEADER_LINES = [
    "X y: 1", ": 1", "X\0: 1", "X: \0", "X: a\r\n folded", "X: a\nY: b", "X: a\rY: b", "X: " + "a" * 70_000, "no colon", "X:",
    "Host: again", "Expect: 100-continue", "Expect: nonsense", "Upgrade: websocket\r\nConnection: Upgrade", "Upgrade: h2c",
    "Connection: close, keep-alive, Content-Length", "Cookie: " + "a=b; " * 5000, "X-Forwarded-For: ::1", "\u00e9: 1", "X: \u00ff\ud800",
    "".join(f"X-{n}: y\r\n" for n in range(3000)) + "Z: 1", "".join(f"X-{n}: y\r\n" for n in range(9000)) + "Z: 1",
]  # fmt: skip


def heads(aim):
    """A request line or a header that is none, or hardly one."""
    rng = aim.rng
    if rng.random() < 0.5:
        first_line, lines = rng.choice(FIRST_LINES), []
    else:
        first_line, lines = "GET /health HTTP/1.1", [rng.choice(HEADER_LINES)]
    method = first_line.partition(" ")[0]
    wire = write_head(first_line, lines)
    if rng.random() < 0.2:
        wire = mutate(wire, rng)
    return Attack(path="/health", method=method, parts=(wire,), is_http=False, ends_early=rng.random() < 0.1)


def _hostile_headers(aim):
    """Return names and values of headers that somebody reads, each well-formed as a header and hostile behind it."""
    text = aim.rng.choice(TEXTS).translate(dict.fromkeys((0, 7, 10, 13, 127), "?"))
    long_text = "a" * aim.rng.choice((1, 300, 10_000))
    return [
        *(("Idempotency-Key", key) for key in (long_text, "short", text, "a b c d e f g", "\u00ff" * 9, "12345678")),
        *(
            ("Content-Type", media_type)
            for media_type in (
                text, long_text, f"{JSON}; charset=utf-16", f'{JSON}; charset="', f"{JSON};" * 500, "application/json/x", "text/csv; header=absent",
                "multipart/form-data", "multipart/form-data; boundary=", "application/x-www-form-urlencoded", "*/*", ";", "",
            )
        ),
        *(("X-API-Key", key) for key in (text, long_text, "", aim.target.key.upper(), aim.target.key[:-1], aim.target.key + " x")),
        *(
            ("Authorization", value)
            for value in (
                text, f"Bearer {text}", "Bearer", "Bearer " + "a." * 3, f"Bearer {long_text}.{long_text}.{long_text}", "Basic ////", "Basic =",
                "Basic " + "QQ==" * 500, "Token", "Digest x", f"Bearer {aim.target.token[:-3]}abc", f"bearer  {aim.target.token}",
                "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYXgifQ.",
            )
        ),
        *(("Accept", value) for value in (text, long_text, "*/*;q=2", "a/b," * 2000, "application/json;q=", ";;;", "text/csv;q=0")),
        *(("X-Request-Id", value) for value in (text, long_text, "${id}", "a" * 65, "<b>")),
        *(("Range", value) for value in ("bytes=" + "0-," * 2000, "bytes=9-1", "rows=1", "bytes=-" + "9" * 400)),
        *(("Traceparent", value) for value in (text, "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ff-x")),
        *(("Content-Encoding", value) for value in (text, "gzip", "zstd", "gzip " * 100)),
        ("Expect", "100-continue"),
        ("If-None-Match", "*"),
        ("Origin", "null"),
        ("X-HTTP-Method-Override", "DELETE"),
    ]  # fmt: skip


def headers(aim):
    """A sound request with a hostile header, to any address."""
    operation = aim.rng.choice(aim.target.operations)
    given = credentials(aim) if aim.rng.random() < 0.7 else {}
    body = WAYS["json"][1](good_rows(aim)) if operation.media_types else b""
    given |= {"Content-Type": JSON}
    for name, value in aim.rng.sample(_hostile_headers(aim), aim.rng.choice((1, 1, 2))):
        given[name] = value
    path = operation.path.replace("{", "").replace("}", "")
    return _request(operation.method, path, given, body)


def _request(method, target, headers, body):
    """Return an attack; whose head is larger than it may be need not be read to its end."""
    wire = write_request(method, target, headers, body)
    is_http = len(wire) - len(body) < MOST_HEAD_BYTES
    return Attack(path=target.partition("?")[0], method=method, parts=(wire,), is_http=is_http)


# --- parameters and bodies of every operation

GUESSES = (
    STEADY, "m0", "default", "true", "ndjson", "csv", "json", "parquet", "name", "-name", "gauge", "1h", "1us", "1ns", "0s", "-1h", "PT0S", "P999Y",
    "day", "hour", "mean", "max,min,mean", "UTC", "Europe/Berlin", "Mars/Olympus", "../../etc/localtime", "0", "1", "-1", "1000000000000", "9" * 40,
    f"{DAY}T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01", "a:b", "a:b:c", ":", ",", ",,,", "a,b," * 1000, "%", "*",
    "rep_00000000000000000000", "cmp_00000000000000000000", "ns", "zz",
)  # fmt: skip


SOUND_FIELDS = {
    "component": STEADY, "metric": "m0", "kind": "alarm", "start": f"{DAY}T00:00:00Z", "end": "2026-06-02T00:00:00Z", "timezone": "Europe/Berlin",
    "limit": "10", "format": "ndjson", "every": "1h", "aggregate": "mean,max", "search": "s", "sort": "name", "partial": "true", "time_unit": "ms",
    "bucket": "default", "db": "default", "precision": "ms", "include_retired": "true",
}  # fmt: skip
SOUND_MEMBERS = {
    "period": '"2026-05"', "timezone": '"UTC"', "components": '"all"', "metrics": '["m0"]', "kpis": '["mean"]', "bucket": '"day"', "title": '"t"',
    "type": '"pump"', "labels": '{"line":"A"}', "attributes": '{"a":1}', "kind": '"gauge"', "unit": '"Cel"', "lsl": "1.5", "usl": "2.5",
}  # fmt: skip


def _guess(rng):
    return rng.choice(rng.choice((GUESSES, GUESSES, TEXTS, NUMBERS, INSTANTS)))


def _percent(text, rng):
    """Return text for a query or a path; now and then not quite percent-encoded."""
    written = quote(utf8(text), safe="")
    match rng.randrange(10):
        case 0:
            return written.replace("%", "%25")
        case 1:
            return written + rng.choice(("%", "%zz", "%ff", "%00", "%ed%a0%80", "+", "%u0041"))
        case _:
            return written


def _target(aim, operation):
    """Return an address whose fields are all hostile, repeated or unknown; or one of them, and the others sound."""
    rng = aim.rng
    sound = SOUND_FIELDS if rng.random() < 0.5 else {}
    path = "".join(
        sound.get(part[1:]) or _percent(_guess(rng), rng) if part.startswith("{") else part
        for part in _parts(operation.path)
    )
    names = rng.choices(operation.fields, k=rng.randint(1, 5)) if operation.fields else []
    if sound:
        names = list(dict.fromkeys(names))
    hostile = rng.choice(names) if names else ""
    names += rng.choices(("colour", "%5B%5D", "__proto__", "limit%5B$gt%5D"), k=rng.random() < 0.1)
    fields = [
        f"{name}={quote(sound[name]) if name in sound and name != hostile else _percent(_guess(rng), rng)}"
        for name in names
    ]
    return f"{path}?{'&'.join(fields)}" if fields else path


def _parts(path):
    """Split a path before and behind each `{name}`."""
    return [part for piece in path.split("{") for part in _at_brace(piece)]


def _at_brace(piece):
    name, brace, rest = piece.partition("}")
    return ["{" + name, rest] if brace else [piece]


def _literal(rng, depth=0):
    """Return a JSON value as it is written."""
    match rng.randrange(6 if depth < 3 else 3):
        case 0:
            return rng.choice(NUMBERS)
        case 1:
            return rng.choice(OBJECTS)
        case 2:
            return "[" * 200 + "]" * 200
        case 3:
            return (
                "{"
                + ",".join(f'"{_guess(rng)}":{_literal(rng, depth + 1)}' for _ in range(rng.choice((1, 3, 40))))
                + "}"
            )
        case _:
            return f'"{_guess(rng)}"'


def _json_body(aim, operation):
    rng = aim.rng
    sound = SOUND_MEMBERS | {"name": f'"{aim.tag}"'} if rng.random() < 0.5 else {}
    names = rng.choices(operation.members or ("a",), k=rng.randint(1, 6))
    names += [name for name in ("name", "period") if sound and name in operation.members]
    hostile = rng.choice(names)
    members = [f'"{name}":{sound[name] if name in sound and name != hostile else _literal(rng)}' for name in names]
    whole = utf8("{" + ",".join(members) + "}")
    match rng.randrange(6):
        case 0:
            return render(rng.choice(JSON_SHAPES), rng.choice(SIZES), whole)
        case 1:
            return b"[" + b",".join([whole] * rng.choice((2, 1001))) + b"]"
        case 2:
            return mutate(whole, rng)
        case _:
            return whole


def _form_body(aim, operation):
    rng = aim.rng
    names = rng.choices(operation.members or ("username", "password"), k=rng.randint(1, 6))
    pairs = [f"{name}={_percent(_guess(rng), rng)}" for name in names]
    floods = (["a=1"] * 250_000, ["&" * 1_000_000], ["=" * 1_000_000], ["%41" * 300_000], ["password=" + "x" * 900_000])
    pairs += rng.choice(([], [], *floods))
    return "&".join(pairs).encode()


def _multipart_body(aim):
    rng = aim.rng
    part = b'--b\r\nContent-Disposition: form-data; name="username"%b\r\n\r\nmax\r\n'
    return rng.choice(
        (
            part % b"" * rng.choice((1, 5000)) + b"--b--\r\n",
            part % b'; filename="../../x"' + b"--b--",
            part % b"; filename=x" + b"x" * 900_000 + b"\r\n--b--",
            b"--b\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
            b"--b" * 9000,
            part % b"",
            part.replace(b"form-data", b"a" * 70_000) % b"",
        )
    )


def operations(aim):
    """Any address of the description, with hostile fields and bodies."""
    return _attack_one(aim, aim.target.operations)


def questions(aim):
    """Questions about rows."""
    return _attack_one(
        aim, [each for each in aim.target.operations if each.method == "GET" and "format" in each.fields]
    )


def _attack_one(aim, chosen):
    rng = aim.rng
    operation = rng.choice(chosen)
    is_undescribed = operation in UNDESCRIBED
    given, body = credentials(aim) if is_undescribed else as_manager(aim), b""
    if operation.media_types:
        media_type = rng.choice(operation.media_types)
        match rng.randrange(10):
            case 0:
                media_type, body = "multipart/form-data; boundary=b", _multipart_body(aim)
            case 1:
                body = mutate(good_body(aim, rng.choice(FORMS)).content, rng)
            case _ if "form" in media_type:
                body = _form_body(aim, operation)
            case _:
                body = _json_body(aim, operation)
        given |= {"Content-Type": media_type}
    return _request(operation.method, _target(aim, operation), given, body)


def sign_ins(aim):
    """Forms and files at the one address that takes names and passwords, by nobody."""
    rng = aim.rng
    if rng.random() < 0.4:
        media_type, body = (
            rng.choice(("multipart/form-data; boundary=b", "multipart/form-data", "multipart/mixed; boundary=b")),
            _multipart_body(aim),
        )
    else:
        media_type = rng.choice(
            ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-16", JSON)
        )
        body = _form_body(
            aim, Operation("POST", "/token", members=("username", "password", "scope", "grant_type", "project"))
        )
    return _request("POST", "/token", {"Content-Type": media_type}, body)


REQUEST_KINDS = {
    "encodings": encodings,
    "bombs": bombs,
    "fillings": fillings,
    "lengths": lengths,
    "chunks": chunks,
    "abandoned": abandoned,
    "heads": heads,
    "headers": headers,
    "operations": operations,
    "questions": questions,
    "sign-ins": sign_ins,
}
