"""What is fuzzed: two readers that must make the same rows of the same bytes. Any exception is a find."""

import codecs

from damage import WAYS
from gaugehouse.errors import Unreadable
from payloads import CSV, EVENTS, JSON, NDJSON, write
from unit.ingest.agreement import NOW, NOW_NS, decode, events_outcome_of, read_both, read_ways

UNITS = ("ns", "us", "ms", "s", "m", "h")


def lines(body):
    """Line protocol: the compiled passes say what the reader by character says."""
    unit = UNITS[len(body) % len(UNITS)]
    try:
        text = body.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        text = None
    if text is None:
        assert is_unreadable(body)
        return
    read_both(text, unit=unit)
    read_both(text, unit=unit, metric_tags=("cpu",))


def is_unreadable(body):
    try:
        decode(body)
    except Unreadable:
        return True
    return False


def _ways(media_type):
    def target(body):
        for time_unit in (None, "ms"):
            read_ways(body, media_type, time_unit)
            events_outcome_of(body, media_type, time_unit)

    return target


TARGETS = {"lines": lines, "csv": _ways(CSV), "json": _ways(JSON), "ndjson": _ways(NDJSON)}

_ROWS = [
    {"component": "a", "metric": "m", "measured_at": NOW, "value": 1.5, "quality": 0},
    {"component": "Förderband 3", "metric": "m", "measured_at": NOW, "value": None, "quality": 2},
]
_EVENTS = [{"component": "a", "kind": "k", "occurred_at": NOW, "body": '{"a":[1,null,"x"]}'}]
_LINE = f'm,host=a,cpu=c\\ 1 f=1.5,g=-2i,h=3u,i=t,s="x\\"y" {NOW_NS}\n# c\n\r\ngaugehouse,component=b\\,c t=1e-3'
SEEDS = {
    "lines": [_LINE.encode(), b"m,host=a f=1 1\nm,host=a f=2 2"],
    "csv": [
        WAYS["csv"][1](_ROWS),
        write(_EVENTS, CSV, EVENTS),
        b"component,metric,measured_at,value\na,m,1780000000000,1\n",
    ],
    "json": [WAYS["json"][1](_ROWS), WAYS["columns"][1](_ROWS), write(_EVENTS, JSON, EVENTS), b'{"measurements":[]}'],
    "ndjson": [WAYS["ndjson"][1](_ROWS), write(_EVENTS, NDJSON, EVENTS)],
}
