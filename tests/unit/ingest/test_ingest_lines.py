"""Line protocol: what is read is what was meant, by a slow reader that agrees on every input."""

import string
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gaugehouse.config import Settings
from gaugehouse.errors import GaugehouseError, LinesRefused, TooLarge, Unreadable
from gaugehouse.ingest import Limits, LineMapping, line_protocol, line_scan
from gaugehouse.ingest.line_protocol import warm_up
from gaugehouse.measurements.names import find_name_problem
from unit.ingest.agreement import NOW_NS, NOW_US, decode, read_both, rows_of
from unit.ingest.line_reference import write_point, write_string


@pytest.fixture(scope="module", autouse=True)
def compiled():
    warm_up()


def problems_of(text, **options):
    with pytest.raises(LinesRefused) as refused:
        decode(text, **options)
    return [(problem.line, problem.field, problem.reason) for problem in refused.value.problems]


# --- what the specification shows

AT = "2019-09-17T21:17:58"
EXAMPLES = {
    "myMeasurement,host=a fieldKey=1 1556813561098000000": [("a", "myMeasurement.fieldKey", 1556813561098000, 1.0)],
    "m,host=a f=1.0 1556813561098000000\nm,host=a f=1 1556813561098000001": [
        ("a", "m.f", 1556813561098000, 1.0),
        ("a", "m.f", 1556813561098000, 1.0),
    ],
    "m,host=a f=-1.234456e+78": [("a", "m.f", NOW_US, -1.234456e78)],
    "m,host=a f=1.E3,g=.5,h=5.,i=-0": [
        ("a", "m.f", NOW_US, 1000.0),
        ("a", "m.g", NOW_US, 0.5),
        ("a", "m.h", NOW_US, 5.0),
        ("a", "m.i", NOW_US, -0.0),
    ],
    "m,host=a f=12485903u,g=-12485903i": [("a", "m.f", NOW_US, 12485903.0), ("a", "m.g", NOW_US, -12485903.0)],
    "m,host=a a=t,b=T,c=true,d=True,e=TRUE": [("a", f"m.{name}", NOW_US, 1.0) for name in "abcde"],
    "m,host=a a=f,b=F,c=false,d=False,e=FALSE": [("a", f"m.{name}", NOW_US, 0.0) for name in "abcde"],
    'm,host=a f="this is a string"': [("a", "m.f", NOW_US, "this is a string")],
    r'm,host=a f="\"string\" within a string"': [("a", "m.f", NOW_US, '"string" within a string')],
    'm,host=a f="a, b=c d #e\nf"': [("a", "m.f", NOW_US, "a, b=c d #e\nf")],
    r'm,host=a f="\\,\\\",\n"': [("a", "m.f", NOW_US, '\\,\\",\\n')],
    r"my\ Measurement,host=a f=1": [("a", "my Measurement.f", NOW_US, 1.0)],
    r"my\,Measurement,host=tag\ Value\,1\=2 f=1": [("tag Value,1=2", "my,Measurement.f", NOW_US, 1.0)],
    r"m,tag\ Key=x,host=a my\ field\=key\,=1": [("a", "m.my field=key,", NOW_US, 1.0)],
    r"m,host=\\server\share f=1": [("\\\\server\\share", "m.f", NOW_US, 1.0)],
    'm=n,host="a" f=1': [('"a"', "m=n.f", NOW_US, 1.0)],
    "m,host=Launch🚀 f=1": [("Launch🚀", "m.f", NOW_US, 1.0)],
    "# comment\n\n  \t\n \t# comment 2\r\n\r\nm,host=a f=1 \t 5000 \r\n#": [("a", "m.f", 5, 1.0)],
    "  m,host=a   f=1    1000": [("a", "m.f", 1, 1.0)],
    "gaugehouse,component=pump-1 temperature=71.5": [("pump-1", "temperature", NOW_US, 71.5)],
    "": [],
    "\n\r\n# nothing": [],
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_lines_mean_what_the_specification_says(text):
    assert read_both(text) == EXAMPLES[text]


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("m,host=a f=1\nm", 2, "fields", "are missing"),
        ("m,host=a", 1, "fields", "are missing"),
        ("m,host=a  ", 1, "fields", "are missing"),
        ("m,host=a f", 1, "fields", "without a value"),
        ("m,host=a f 5", 1, "fields", "without a value"),
        ("m,host=a f= 5", 1, "'f'", "is missing"),
        ("m,host=a f=1,,g=2", 1, "fields", "without a name"),
        ("m,host=a =1", 1, "fields", "without a name"),
        ('m,host=a f="x\ny', 1, "fields", "not closed"),
        ('m,host=a f="x"y', 1, "fields", "do not go on"),
        ("m,host=a f=1 5 6", 1, "timestamp", "whole number"),
        ("m,host=a f=1 5.0", 1, "timestamp", "whole number"),
        ("m,host=a f=1 -", 1, "timestamp", "whole number"),
        ("m,host=a f=1 99999999999999999999", 1, "timestamp", "whole number"),
        ("m,host=a f=1 -1000", 1, "measured_at", "before 1970"),
        (f"m,host=a f=1 {NOW_NS + 2 * 86_400 * 10**9}", 1, "measured_at", "ahead of the clock"),
        ('m,host=a f="x" -1000', 1, "occurred_at", "before 1970"),
        ("m,host=a f=nan", 1, "'f'", "not a finite number"),
        ("m,host=a f=-Inf", 1, "'f'", "not a finite number"),
        ("m,host=a f=1e999", 1, "'f'", "not a finite number"),
        ("m,host=a f=yes", 1, "'f'", "no number, boolean or quoted string: 'yes'"),
        ("m,host=a f=0x10", 1, "'f'", "no number"),
        ("m,host=a f=1_000", 1, "'f'", "no number"),
        ("m,host=a f=+1", 1, "'f'", "no number"),
        ("m,host=a f=1.5i", 1, "'f'", "no number"),
        ("m,host=a f=1e", 1, "'f'", "no number"),
        ("m,host=a f=9007199254740993i", 1, "'f'", "over 2^53"),
        ("m,host=a f=18446744073709551615u", 1, "'f'", "over 2^53"),
        ("m,host=a f=-5u", 1, "'f'", "negative"),
        (",host=a f=1", 1, "measurement", "is missing"),
        ("m,host f=1", 1, "tags", "not name=value: 'host'"),
        ("m,host= f=1", 1, "tags", "not name=value"),
        ("m,host=a=b f=1", 1, "tags", "not name=value"),
        ("m,host=a, f=1", 1, "tags", "not name=value"),
        ("m,host=a,host=b f=1", 1, "tags", "name 'host' twice"),
        ("m,region=eu f=1", 1, "tags", "none of component, device, host"),
        ("m f=1", 1, "tags", "none of"),
        ("m,host=a\tb f=1", 1, "component", "control character"),
        ("m,host=a f\tg=1", 1, "metric", "control character"),
        ("m,host=Fo\u0308 f=1", 1, "component", "normal form"),
        ("m,host=a " + "f" * 200 + "=1", 1, "metric", "at most 200"),
        ("m,host=a f=1\r 5", 1, "timestamp", "whole number"),
        ("m,host=a f=1\x015", 1, "fields", "do not go on"),
        ('m,host=a f="a\nb"\n# c\n\nm,host=a f=x', 5, "'f'", "no number"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_field(text, line, field, words):
    found_line, found_field, reason = problems_of(text)[0]
    assert (found_line, found_field) == (line, field)
    assert words in reason
    assert read_both(text) == line


def test_the_first_twenty_bad_lines_are_named_and_all_are_counted():
    lines = [f"m,host=a f={'x' if i % 2 else 1}" if i % 3 else "broken" for i in range(90)]
    with pytest.raises(LinesRefused) as refused:
        decode("\n".join(lines))
    bad = [i + 1 for i in range(90) if i % 3 == 0 or i % 2]
    assert refused.value.bad_lines == len(bad)
    assert [problem.line for problem in refused.value.problems] == bad[:20]
    assert len(refused.value.fields["errors"]) == 20


@pytest.mark.parametrize(
    ("unit", "time", "at_us"),
    [
        ("ns", 1556813561098000999, 1556813561098000),
        ("us", 1556813561098000, 1556813561098000),
        ("ms", 1556813561098, 1556813561098000),
        ("s", 1556813561, 1556813561000000),
        ("m", 25946892, 1556813520000000),
        ("h", 432448, 1556812800000000),
    ],
)
def test_every_precision_is_read_to_microseconds_cut_towards_the_past(unit, time, at_us):
    assert read_both(f"m,host=a f=1 {time}", unit=unit) == [("a", "m.f", at_us, 1.0)]
    assert problems_of(f"m,host=a f=1 {2**63 - 1}", unit=unit)[0][0] == 1


def test_all_lines_without_a_timestamp_get_one_instant():
    assert {row[2] for row in rows_of(decode('m,host=a f=1\nm,host=b f=1\nm,host=b g="x"'))} == {NOW_US}


def test_the_first_component_tag_that_is_there_names_the_component_and_others_are_labels():
    text = "m,device=sda,host=h,region=eu f=1\nm,host=h,line=A g=1\nm,host=h,line=B g=1"
    decoded = decode(text)
    assert [row[0] for row in rows_of(decoded)] == ["sda", "h", "h"]
    assert decoded.labels == {"sda": {"host": "h", "region": "eu"}, "h": {"line": "A"}}
    by_host = decode(text, component_tags=("host",))
    assert [row[0] for row in rows_of(by_host)] == ["h", "h", "h"]
    assert by_host.labels == {"h": {"device": "sda", "region": "eu", "line": "A"}}


def test_metric_tags_become_part_of_the_name_and_no_label():
    text = "cpu,cpu=cpu0,host=h usage=1\ncpu,cpu=cpu1,host=h usage=2\nmem,host=h used=3"
    decoded = decode(text, metric_tags=("interface", "cpu"))
    assert [row[1] for row in rows_of(decoded)] == ["cpu.usage.cpu0", "cpu.usage.cpu1", "mem.used"]
    assert decoded.labels == {}


def test_the_mapping_is_settings():
    assert LineMapping.from_settings(Settings()) == LineMapping()
    chosen = Settings(line_component_tags="unit, host", line_metric_tags="cpu,")
    assert LineMapping.from_settings(chosen) == LineMapping(component_tags=("unit", "host"), metric_tags=("cpu",))


def test_limits_are_those_of_other_formats():
    assert len(decode("m,host=a f=1,g=2\nm,host=a f=1", limits=Limits(rows_limit=3)).measurements) == 3
    with pytest.raises(TooLarge) as refused:
        decode("m,host=a f=1,g=2\nm,host=a f=1,g=2", limits=Limits(rows_limit=3))
    assert refused.value.code == "too_many_rows"
    with pytest.raises(TooLarge) as refused:
        decode('m,host=a f=1\n\nm,host=a f="' + "x\n" * 300 + '"', limits=Limits(line_limit_bytes=300))
    assert refused.value.message.startswith("line 3 ")
    full = "m,host=a f=1\n" * 3
    assert problems_of(full + "broken", limits=Limits(rows_limit=3))[0][0] == 4
    assert len(decode(full + "# x\n\n", limits=Limits(rows_limit=3)).measurements) == 3
    with pytest.raises(TooLarge):
        decode("#" * 400, limits=Limits(line_limit_bytes=300))


def test_a_line_of_empty_values_is_bad_and_not_too_much():
    fields = ",".join(["x="] * 100)
    assert [line for line, *_rest in problems_of(f"m,host=a f=1\nm,host=a {fields}")] == [2]


def number(texts, seed, slots_for=None):
    """Return (the number of each text, the slots they took) under a seed."""
    data = np.frombuffer("".join(texts).encode(), np.uint8)
    stops = np.cumsum([len(text) for text in texts], dtype=np.int32)
    starts = np.append(np.int32(0), stops[:-1])
    slots = line_scan.slots_for(slots_for or len(texts))
    groups, following = np.zeros(len(texts), np.int32), np.empty(len(texts), np.int32)
    numbers, _firsts = line_scan.number_texts(data, starts, stops, groups, slots, following, np.uint64(seed))
    return numbers.tolist(), np.flatnonzero(slots != line_scan.EMPTY)


def test_keys_that_meet_in_one_slot_meet_in_no_other_process():
    texts = [f"m,host=machine-{i}" for i in range(20_000)]
    home = {text: int(number([text], 1, slots_for=64)[1][0]) for text in texts}
    meeting = [text for text in texts if home[text] == 77][:64]
    assert len(meeting) == 64
    numbers, taken = number(meeting, 1)
    assert numbers == list(range(64))
    chain = {slot % 128 for slot in range(77, 77 + 64)}
    assert set(taken.tolist()) == chain
    numbers, taken = number([*meeting, *meeting[::3]], 2, slots_for=64)
    assert numbers == [*range(64), *range(0, 64, 3)]
    assert len(set(taken.tolist()) & chain) < 45, "scattered"
    assert line_protocol.HASH_SEED not in {0, 1}


def test_late_and_dropped_times_of_a_project_are_refused_by_their_codes():
    kept = {"measured_at": datetime(2026, 11, 1, tzinfo=UTC)}
    with pytest.raises(LinesRefused) as refused:
        decode("m,host=a f=1 1556813561098000000", limits=Limits(kept_from=kept))
    assert refused.value.code == "older_than_retention"
    assert len(decode('m,host=a f="x" 1556813561098000000', limits=Limits(kept_from=kept)).events) == 1


def test_a_byte_order_mark_is_skipped_and_other_encodings_are_refused():
    assert rows_of(decode(b"\xef\xbb\xbfm,host=a f=1")) == [("a", "m.f", NOW_US, 1.0)]
    with pytest.raises(Unreadable):
        decode(b"m,host=\xff f=1")


def test_many_distinct_keys_that_are_all_bad_cost_no_more_than_good_ones():
    text = "\n".join(f"m,region=r{i} f=1" for i in range(50_000))
    with pytest.raises(LinesRefused) as refused:
        decode(text)
    assert refused.value.bad_lines == 50_000


def test_keys_and_fields_that_look_alike_are_kept_apart():
    text = "ab,host=x c=1\na,host=x bc=2\nab,host=x cc=3\nab,host=xc c=4\na,host=x bc=5,c=6\nab,host=x c=7"
    assert [row[:2] for row in read_both(text)] == [
        ("x", "ab.c"),
        ("x", "a.bc"),
        ("x", "ab.cc"),
        ("xc", "ab.c"),
        ("x", "a.bc"),
        ("x", "a.c"),
        ("x", "ab.c"),
    ]


# --- properties

AWKWARD = ',= "\\#\n\r\t0.-eEiutf'
CHARACTERS = st.one_of(
    st.sampled_from(',= "\\#'), st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"])
)
NAMES = st.text(CHARACTERS, min_size=1, max_size=12).filter(
    lambda name: find_name_problem(name) is None and not name.endswith("\\")
)
STRINGS = st.text(st.characters(codec="utf-8"), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.one_of(
    FLOATS.map(lambda number: (repr(number), number)),
    FLOATS.map(lambda number: (f"{number:.17e}", float(f"{number:.17e}"))),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**14), max_value=10**14).map(
        lambda number: (f"{number:f}", float(number))
    ),
    st.integers(-(2**53), 2**53).map(lambda number: (f"{number}i", float(number))),
    st.integers(0, 2**53).map(lambda number: (f"{number}u", float(number))),
    st.booleans().map(lambda truth: (str(truth).lower(), float(truth))),
)
VALUES = st.one_of(NUMBERS, STRINGS.map(lambda text: (write_string(text), text)))
TIMES = st.one_of(st.none(), st.integers(0, NOW_NS))
POINTS = st.tuples(
    NAMES.filter(lambda name: not name.startswith("#")),
    NAMES,
    st.dictionaries(NAMES.filter(lambda name: name not in {"host", "device", "component"}), NAMES, max_size=2),
    st.dictionaries(NAMES, VALUES, min_size=1, max_size=4),
    TIMES,
)


@settings(max_examples=300)
@given(st.lists(POINTS, max_size=6), st.sampled_from(["\n", "\r\n", "\n\n# x\n"]))
def test_arbitrary_escaped_content_comes_back_as_it_was(points, newline):
    lines = [
        write_point(name, {**tags, "host": host}, {field: text for field, (text, _) in fields.items()}, time)
        for name, host, tags, fields, time in points
    ]
    expected = [
        (host, field if name == "gaugehouse" else f"{name}.{field}", NOW_US if time is None else time // 1000, value)
        for name, host, _, fields, time in points
        for field, (_, value) in fields.items()
    ]
    expected.sort(key=lambda row: isinstance(row[3], str))
    if all(find_name_problem(row[1]) is None for row in expected):  # two NFC texts may join to one that is not
        assert read_both(newline.join(lines)) == expected


@settings(max_examples=500)
@given(st.text(st.one_of(st.sampled_from(AWKWARD), st.sampled_from(string.ascii_lowercase)), max_size=40))
def test_both_readers_agree_on_any_text(text):
    read_both(text)


@settings(max_examples=700)
@given(
    st.lists(POINTS, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from([*AWKWARD, ""]), st.integers(0, 2)), max_size=3),
)
@example([("m", "a", {}, {"f": ("1", 1.0)}, 5)], [(9, "\r", 0)])
def test_both_readers_agree_on_good_lines_with_a_few_characters_changed(points, changes):
    text = "\n".join(
        write_point(name, {"host": host, **tags}, {field: written for field, (written, _) in fields.items()}, time)
        for name, host, tags, fields, time in points
    )
    for position, character, dropped in changes:
        at = position % (len(text) + 1)
        text = text[:at] + character + text[at + dropped :]
    read_both(text)


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_get_a_clean_answer(body):
    try:
        rows_of(decode(body))
    except GaugehouseError:
        return  # a refusal is as right as rows


@settings(max_examples=500)
@given(
    st.lists(
        st.from_regex(r"-?[0-9]{1,22}(\.[0-9]{0,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True), min_size=1, max_size=30
    )
)
def test_numbers_of_any_length_are_rounded_as_python_rounds_them(texts):
    good = [text for text in texts if abs(float(text)) < float("inf")]
    decoded = decode("\n".join(f"m,host=a f={text} {i}000" for i, text in enumerate(good)))
    expected = np.array([float(text) for text in good])
    assert decoded.measurements["value"].to_numpy().tobytes() == expected.tobytes()


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)), max_size=60))
def test_keys_in_any_order_keep_their_rows(keys):
    lines = [f"m{a},host=h{b} f{c}={i} {i}000" for i, (a, b, c) in enumerate(keys)]
    expected = [(f"h{b}", f"m{a}.f{c}", i, float(i)) for i, (a, b, c) in enumerate(keys)]
    assert rows_of(decode("\n".join(lines))) == expected


def test_names_that_only_strings_or_only_numbers_use_are_not_mixed():
    decoded = decode('m,host=a f="x"\nm,host=b g=1')
    assert decoded.measurements["component"].chunk(0).dictionary == pa.array(["b"])
    assert decoded.measurements["metric"].chunk(0).dictionary == pa.array(["m.g"])
    assert decoded.events["component"].chunk(0).dictionary == pa.array(["a"])
