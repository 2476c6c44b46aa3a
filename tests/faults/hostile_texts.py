"""Texts that readers of JSON, NDJSON, CSV and line protocol may choke on; each is made by a function of an `Aim`."""

import codecs
import json
from typing import NamedTuple

from damage import WAYS, mutate, splice, strike
from payloads import CSV, EVENTS, JSON, MEDIA_TYPES, NDJSON, write

DAY = "2026-06-01"
LINES = "text/plain"
MEBIBYTE = 1024 * 1024
LARGEST_BODY_BYTES = 10 * MEBIBYTE


class Body(NamedTuple):
    """What is delivered: `table` says where to, and `lines` are line protocol."""

    table: str
    media_type: str
    content: bytes


def utf8(text):
    """Return text as bytes; half a surrogate pair as the three bytes that no UTF-8 has."""
    return text.encode("utf-8", errors="surrogatepass")


# --- good bodies, of which most bad ones are made


def good_rows(aim, count=12):
    """Return rows of the attack's own component; no other attack names it."""
    return [
        {"component": aim.tag, "metric": f"m{n % 3}", "measured_at": aim.instant(n), "value": n / 7, "quality": n % 3}
        for n in range(count)
    ]


def good_lines(aim, count=12):
    return "\n".join(
        f'hostile,component={aim.tag},line=A level={n / 7},count={n}i,on={n % 2 == 0},text="x{n}" {aim.epoch_ns(n)}'
        for n in range(count)
    ).encode()


def good_events(aim, media_type):
    rows = [
        {
            "component": aim.tag,
            "kind": "alarm",
            "occurred_at": aim.instant(n),
            "body": json.dumps({"code": n, "text": ["x", None]}),
        }
        for n in range(6)
    ]
    return write(rows, media_type, EVENTS)


FORMS = [*WAYS, *(f"events of {media_type}" for media_type in MEDIA_TYPES), "lines"]


def good_body(aim, form):
    """Return a sound body in one of the FORMS."""
    if form == "lines":
        return Body("lines", LINES, good_lines(aim))
    if form in WAYS:
        media_type, write_way = WAYS[form]
        return Body("measurements", media_type, write_way(good_rows(aim)))
    media_type = form.removeprefix("events of ")
    return Body("events", media_type, good_events(aim, media_type))


def damaged(form):
    """Return a kind of attack: this form with bits, bytes, tokens or numbers changed."""

    def make(aim):
        body = good_body(aim, form)
        is_binary = "arrow" in form or "parquet" in form
        damage = aim.rng.choice((mutate, strike)) if is_binary else mutate
        return body._replace(content=damage(body.content, aim.rng))

    return make


def torn(aim):
    """A body that ends early, or goes on after its end."""
    body = good_body(aim, aim.rng.choice(FORMS))
    content = body.content
    cut = aim.rng.randrange(len(content))
    return body._replace(
        content=aim.rng.choice(
            (content[:cut], content[cut:], content + content, content + content[:cut], content + b"\0" * 9, b"")
        )
    )


def spliced(aim):
    """The beginning of one body and the end of another, often of another format."""
    one, other = (good_body(aim, aim.rng.choice(FORMS)) for _ in range(2))
    return one._replace(content=splice(one.content, other.content, aim.rng))


def mislabelled(aim):
    """A sound body under the media type, or at the address, of another."""
    one, other = (good_body(aim, aim.rng.choice(FORMS)) for _ in range(2))
    return Body(aim.rng.choice((one.table, other.table)), other.media_type, one.content)


# --- cells

NUMBERS = [
    "NaN", "-NaN", "nan", "NAN", "Infinity", "-Infinity", "inf", "+Inf", "1e999", "-1e999", "1e-999", "1e400", "+1", ".5", "5.",
    "01", "-", "--1", "1e", "1e+", "0x10", "0b1", "1_000", "1,5", "1 2", "1f", "9007199254740993", "-9007199254740993",
    "9" * 5000, "-" + "9" * 5000, "0." + "1" * 5000, "1e" + "9" * 30, "1" + "0" * 400, "\u0661\u0662", "true", "null", "None",
    "undefined", "18446744073709551616", "1e22", "4.9e-324", "-0", "0e0", "1.7976931348623159e308", "1.0e", "1e1.5", "0x1p3",
]  # fmt: skip
TEXTS = [
    r"\ud800", r"\udc00\ud800", r"\u0000", r"a\u0000b", r"\x41", r"\u12", "\x07", "\x7f", "\ud800", "\u202e\u2066", "\ufffe",
    "e\u0301", " a", "a ", r"a\nb", r"\t", "a" * 201, "\U0001f680" * 200, "a" * 70_000, "", "../../etc/passwd", "/v1/../..",
    "<script>alert(1)</script>", "'; DROP TABLE rows; --", "${jndi:ldap://x}", "%00", "%ud800", "=1+1", "{{7*7}}", "\u2028",
    "\ufeff", "\\", '"', "a\\", "CON", "nul", "..", "\r\nSet-Cookie: a=b", "\u0000", "\u00ad", "\u200b", "K\u0327" * 60,
]  # fmt: skip
INSTANTS = [
    "0000-00-00T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-23:59",
    DAY + "T24:00:00Z", DAY + "T23:59:60Z", DAY + "T00:00:00+99:99", DAY + "T00:00:00." + "9" * 5000 + "Z", DAY + "T00:00:00",
    "+292278994-08-17T07:12:55.807Z", "-" + DAY + "T00:00:00Z", DAY, "now", "2026-W23-1T00:00Z", "2026-152T00:00:00Z",
    "\u0662\u0660\u0662\u0666-06-01T00:00:00Z", DAY + "T00:00:00[Europe/Berlin]", DAY + "T00:00:00Z\u0000", "1e18",
    DAY + "T00:00:00\u2212" + "01:00", "1780272000", DAY + "t00:00:00z", DAY + " 00Z", "99999999999999999999999",
]  # fmt: skip
OBJECTS = [
    "[]",
    "{}",
    "[1]",
    '{"v":1}',
    "[[[[[]]]]]",
    '[{"a":',
    "'single'",
    "\x0b1",
    "/* 1 */ 1",
    "1//",
    "tru",
    "nul",
    "\u00a01",
]
NAMES = ("component", "metric", "measured_at", "value", "quality")


def hostile_cell(aim):
    """Return (name of a column, what stands in it, as it is written in JSON)."""
    name = aim.rng.choice(NAMES)
    if aim.rng.random() < 0.3:
        return name, aim.rng.choice(OBJECTS)
    usual = {"value": NUMBERS, "quality": NUMBERS, "measured_at": INSTANTS}.get(name, TEXTS)
    cell = aim.rng.choice(usual if aim.rng.random() < 0.8 else aim.rng.choice((NUMBERS, TEXTS, INSTANTS)))
    is_quoted = usual is not NUMBERS if aim.rng.random() < 0.9 else usual is NUMBERS
    return name, f'"{cell}"' if is_quoted else cell


def cells_of_json(aim):
    """Good rows with one cell in them that is anything but."""
    rows = [
        {name: json.dumps(cell) for name, cell in row.items()} for row in json.loads(WAYS["json"][1](good_rows(aim, 4)))
    ]
    name, cell = hostile_cell(aim)
    aim.rng.choice(rows)[name] = cell
    if aim.rng.random() < 0.1:
        rows[0][name + aim.rng.choice(("", " ", r"\u0000", "x"))] = cell
    match aim.rng.randrange(3):
        case 0:
            columns = ",".join(f'"{name}":[{",".join(row[name] for row in rows)}]' for name in NAMES)
            return Body("measurements", JSON, utf8("{" + columns + "}"))
        case 1:
            return Body("measurements", NDJSON, utf8("\n".join(_object(row) for row in rows)))
        case _:
            return Body("measurements", JSON, utf8(f"[{','.join(_object(row) for row in rows)}]"))


def _object(cells):
    return "{" + ",".join(f'"{name}":{cell}' for name, cell in cells.items()) + "}"


def cells_of_csv(aim):
    rows = [[aim.tag, "m", f"{DAY}T00:00:{n:02}Z", "1.5", "0"] for n in range(4)]
    name, cell = hostile_cell(aim)
    aim.rng.choice(rows)[NAMES.index(name)] = cell
    newline = aim.rng.choice(("\n", "\r\n", "\r", "\n\n", "\u2028"))
    return Body("measurements", CSV, utf8(newline.join([",".join(NAMES), *map(",".join, rows)])))


def cells_of_lines(aim):
    name, cell = hostile_cell(aim)
    bare, cell = cell.strip('"'), aim.rng.choice((cell, cell + "i", cell + "u", f'"{cell}"'))
    key, field, value, time = f"hostile,component={aim.tag}", "level", "1.5", str(aim.epoch_ns(0))
    if name == "component":
        key = aim.rng.choice(
            (f"hostile,component={bare}", f"{bare},component={aim.tag}", f"hostile,{bare}={aim.tag}", bare)
        )
    elif name == "metric":
        field = bare
    elif name == "measured_at":
        time = bare
    else:
        value = cell
    text = f"hostile,component={aim.tag} level=1\n{key} {field}={value} {time}\n"
    return Body("lines", LINES, utf8(text))


# --- shapes


class Many(NamedTuple):
    """Something that is repeated, up to as often as a body has room for."""

    part: bytes


class Numbered(NamedTuple):
    """Something that is repeated with another number each time, up to MOST_NUMBERED times."""

    part: bytes


ROW, OPEN_ROW = "row", "open row"  # one good row, as it is and without its closing brace
MOST_NUMBERED = 150_000
JSON_SHAPES = [
    [Many(b"[")],
    [Many(b"["), Many(b"]")],
    [Many(b'{"a":')],
    [Many(b'{"a":'), b"1", Many(b"}")],
    [Many(b'{"measurements":')],
    [Many(b'[{"component":')],
    [b"[", OPEN_ROW, b',"quality":', Many(b"["), Many(b"]"), b"}]"],
    [b"[", OPEN_ROW, b',"component":"again"}]'],
    [b"[", Many(b"{},"), b"{}]"],
    [b"[", Many(b"[],"), b"0]"],
    [b"[", Many(b","), b"]"],
    [b"[", ROW, Many(b","), ROW, b"]"],
    [b"[", Many(b"null,"), ROW, b"]"],
    [Many(b" "), b"[", ROW, b"]", Many(b"\n")],
    [b"[", ROW, b"]", Many(b"\0")],
    [b"[", ROW, Many(b"]")],
    [b"[", OPEN_ROW, b',"x":"', Many(b"\\"), b'"}]'],
    [b"[", OPEN_ROW, b',"x":"', Many(b"\\u0041"), b'"}]'],
    [b"[", OPEN_ROW, b',"', Many(b"k"), b'":1}]'],
    [b"[", OPEN_ROW, Numbered(b',"k%d":1'), b"}]"],
    [b"{", Numbered(b'"k%d":[],'), b'"k":[]}'],
    [b'{"component":"', Many(b"c"), b'","metric":"m","measured_at":[],"value":[]}'],
    [b'{"component":"c","metric":"m","measured_at":[', Many(b'"",'), b'""],"value":[]}'],
    [b'{"component":"c","metric":"m","measured_at":[],"value":[', Many(b"1,"), b"1]}"],
    [b'{"measurements":[', ROW, b'],"measurements":[', ROW, b"]}"],
    [b'{"measurements":{"measurements":[', ROW, b"]}}"],
    [b"/*", Many(b"*"), b"*/[", ROW, b"]"],
    [b"\x1e", ROW, b"\n"],
    [b'"', Many(b"a")],
    [b"[1", Many(b"e9"), b"]"],
    [b"[", Many(b"9"), b"]"],
    *([Many(part)] for part in (b'"', b"-", b"9", b"\xff", b" ", b"\0", b"[" + b"{" * 3 + b"]")),
]
NDJSON_SHAPES = [
    [Many(b"\n"), ROW],
    [Many(b"\r"), ROW],
    [Many(b" \t\r\n")],
    [Many(b"{}\n")],
    [Many(b"1\n")],
    [Many(b"[\n")],
    [Many(b"["), b"\n", ROW],
    [Many(b'{"component":'), b"\n", ROW],
    [ROW, b",", ROW],
    [ROW, ROW],
    [Numbered(b'{"n":%d}\n')],
    [OPEN_ROW, Many(b" "), b"}\n", ROW],
    [b"\x1e", ROW, b"\n\x1e", ROW],
    [ROW, b"\0\n", ROW],
    [ROW, b"\xc2\x85", ROW, b"\xe2\x80\xa8", ROW],
    [b"[", ROW, b",\n", ROW, b"]"],
]
HEADER = b"component,metric,measured_at,value"
CSV_SHAPES = [
    [HEADER],
    [HEADER, Many(b"\n"), ROW],
    [HEADER, Many(b"\r"), ROW],
    [HEADER, b',"', Many(b"x")],
    [HEADER, b'\n"', ROW],
    [HEADER, b"\n", ROW, b'"x"'],
    [HEADER, b"\n", Many(b'""'), ROW],
    [HEADER, b"\n", ROW, Many(b",")],
    [HEADER, Many(b","), b"\n", ROW],
    [HEADER, b",value\n", ROW, b",2"],
    [HEADER, b"\n", Many(b"\0"), ROW],
    [Numbered(b"c%d,"), b"\n", ROW],
    [HEADER, b"\n", Numbered(b"c,m,2026-06-01T00:00:00Z,%d,\n")],
    [HEADER, b'\n"', Many(b"a\n"), b'",m,2026-06-01T00:00:00Z,1'],
    [HEADER.upper(), b"\n", ROW],
    [HEADER.replace(b",", b" , "), b"\n", ROW],
    *([Many(part)] for part in (b"\n", b'"', b",", b'",', b"\r\n")),
]
LINE_SHAPES = [
    [Many(b"\n"), ROW],
    [Many(b"\r\n"), ROW],
    [Many(b"#"), b"\n", ROW],
    [Many(b"m"), ROW],
    [b"m", Many(b",t=1"), b" f=1"],
    [b"m", Numbered(b",t%d=1"), b" f=1"],
    [b"m,component=c ", Many(b"f=1,"), b"f=1"],
    [b"m,component=c ", Numbered(b"f%d=1,"), b"f=1"],
    [b"m,component=c ", Numbered(b'f%d="",'), b"f=1"],
    [Numbered(b"m,component=c%d f=1 1\n")],
    [ROW, b' text="', Many(b"x")],
    [b'm,component=c f="', Many(b'\\"'), b'"'],
    [b'm,component=c f="', Many(b"\n"), b'"\n', ROW],
    [b"m,component=c f=", Many(b"1")],
    [b"m,component=c f=1e", Many(b"1")],
    [b"m,component=c f=1.", Many(b"1"), b" 1"],
    [ROW, Many(b"1")],
    [ROW, Many(b" "), b"1"],
    [ROW, Many(b"\0")],
    [ROW, b"\n", Many(b"x f=1\n")],
    *([Many(part)] for part in (b"\\", b",=", b"a=1,", b" ", b'"', b"\\\\ ", b"m,component=c f=1\n")),
]
SIZES = (0, 1, 3, 70, 1000, 1000, 70_000, 70_000, 300_000)


def render(shape, count, row):
    """Return the bytes of a shape, no more than a body may have and one more."""
    written = bytearray()
    for piece in shape:
        match piece:
            case Many(part=part):
                written += part * min(count, LARGEST_BODY_BYTES // len(part) + 1)
            case Numbered(part=part):
                written += b"".join(part % number for number in range(min(count, MOST_NUMBERED)))
            case "row":
                written += row
            case "open row":
                written += row[:-1]
            case _:
                written += piece
    return bytes(written[: LARGEST_BODY_BYTES + 1])


def _shaped(aim, shapes, row):
    """Return one of the shapes; now and then as large as a body may be."""
    count = aim.rng.choice(SIZES) if aim.rng.random() < 0.95 else LARGEST_BODY_BYTES
    return render(aim.rng.choice(shapes), count, row)


def shapes_of_json(aim):
    table = aim.rng.choice(("measurements", "measurements", "events"))
    return Body(table, JSON, _shaped(aim, JSON_SHAPES, WAYS["ndjson"][1](good_rows(aim, 1))))


def shapes_of_ndjson(aim):
    return Body("measurements", NDJSON, _shaped(aim, NDJSON_SHAPES, WAYS["ndjson"][1](good_rows(aim, 1))))


def shapes_of_csv(aim):
    return Body("measurements", CSV, _shaped(aim, CSV_SHAPES, f"{aim.tag},m,{DAY}T00:00:00Z,1".encode()))


def shapes_of_lines(aim):
    line = f"hostile,component={aim.tag} level=1.5 {aim.epoch_ns(0)}".encode()
    return Body("lines", LINES, _shaped(aim, LINE_SHAPES, line))


RECODINGS = [
    lambda text: codecs.BOM_UTF8 + text,
    lambda text: codecs.BOM_UTF8 * 2 + text,
    lambda text: text.decode().encode("utf-16"),
    lambda text: text.decode().encode("utf-16-be"),
    lambda text: text.decode().encode("utf-32"),
    lambda text: text.decode().encode("utf-7"),
    lambda text: text.replace(b"m", "é".encode("latin-1")),
    lambda text: text.replace(b'"', b"'"),
    lambda text: text.replace(b",", b";"),
    lambda text: text.replace(b",", b"\t"),
    lambda text: text.replace(b",", "\uff0c".encode()),
    lambda text: text.replace(b"\n", b"\r"),
    lambda text: text.replace(b":", b"\xa0:"),
    lambda text: text.replace(b" ", b"\t"),
    lambda text: text.replace(b"m", b"\xc1\xad"),  # an overlong m
    bytes.upper,
    bytes.swapcase,
    lambda text: text[::-1],
]


def recoded(aim):
    """A sound text in another encoding, or with other signs in the place of the right ones."""
    body = good_body(aim, aim.rng.choice(("json", "columns", "ndjson", "csv", "lines", f"events of {JSON}")))
    return body._replace(content=aim.rng.choice(RECODINGS)(body.content))


def bodies_of_events(aim):
    """Events whose bodies are the attack, as they are (perhaps no JSON any more) or as text."""
    attack = render(aim.rng.choice(JSON_SHAPES), min(aim.rng.choice(SIZES), 70_000), b'{"a":1}')
    body = attack if aim.rng.random() < 0.5 else json.dumps(attack.decode(errors="replace")).encode()
    head = f'[{{"component":"{aim.tag}","kind":"alarm","occurred_at":"{DAY}T00:00:00Z","body":'.encode()
    return Body("events", JSON, head + body + b"}]")


TEXT_KINDS = {
    **{f"damaged {form}": damaged(form) for form in FORMS},
    "torn bodies": torn,
    "spliced bodies": spliced,
    "mislabelled bodies": mislabelled,
    "cells of JSON": cells_of_json,
    "cells of CSV": cells_of_csv,
    "cells of lines": cells_of_lines,
    "shapes of JSON": shapes_of_json,
    "shapes of NDJSON": shapes_of_ndjson,
    "shapes of CSV": shapes_of_csv,
    "shapes of lines": shapes_of_lines,
    "bodies of events": bodies_of_events,
    "recoded texts": recoded,
}
