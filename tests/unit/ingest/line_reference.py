"""Line protocol read slowly and obviously, character by character, as the specification says; and written again."""

import re
from dataclasses import dataclass

from gaugehouse.measurements.names import find_name_problem

FLOAT = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
INTEGER = re.compile(r"(-?[0-9]+)i|([0-9]+)u")
TIME = re.compile(r"-?[0-9]+")
BOOLEANS = {
    word: float(word[0] in "tT") for word in ("t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE")
}
UNITS_NS = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


class BadLine(Exception):
    """What is wrong is not said, only where."""

    def __init__(self, line):
        super().__init__(line)
        self.line = line


@dataclass
class Row:
    line: int
    component: str
    name: str
    at_us: int
    value: object


class Reader:
    def __init__(self, text, *, unit, now_us, component_tags, metric_tags):
        self.text = text
        self.position = 0
        self.line = 0
        self.begun = 0  # the line on which the current point began: a string may hold newlines
        self.unit = unit
        self.now_us = now_us
        self.component_tags = component_tags
        self.metric_tags = metric_tags

    def peek(self):
        return self.text[self.position : self.position + 1]

    def is_at_line_end(self):
        rest = self.text[self.position :]
        return rest in {"", "\r"} or rest.startswith(("\n", "\r\n"))

    def skip_blanks(self):
        while self.peek() and self.peek() in " \t":
            self.position += 1

    def skip_to_newline(self):
        while self.peek() not in {"", "\n"}:
            self.position += 1

    def need(self, is_true):
        if not is_true:
            raise BadLine(self.begun)

    def read_until(self, ends, escaped):
        """Return a text that ends before an unescaped one of `ends`, with its escapes undone."""
        read = []
        while self.peek() and self.peek() not in ends + "\n":
            following = self.text[self.position + 1 : self.position + 2]
            if self.peek() == "\\" and following and following in escaped:
                self.position += 1
            read.append(self.peek())
            self.position += 1
        return "".join(read)

    def read(self):
        rows = []
        while self.position < len(self.text):
            self.line += 1
            line = self.begun = self.line
            self.skip_blanks()
            if not self.is_at_line_end() and self.peek() != "#":
                rows += self.read_point(line)
            self.skip_to_newline()
            self.position += 1
        return rows

    def read_point(self, line):
        measurement = self.read_until(", ", ", ")
        tags = {}
        while self.peek() == ",":
            self.position += 1
            key = self.read_until(",= ", ",= ")
            self.need(key and self.peek() == "=" and key not in tags)
            self.position += 1
            tags[key] = self.read_until(",= ", ",= ")
            self.need(tags[key] and self.peek() != "=")
        self.need(measurement and self.peek() == " ")
        self.skip_blanks()
        fields = [self.read_field(line)]
        while self.peek() == ",":
            self.position += 1
            fields.append(self.read_field(line))
        if not self.is_at_line_end():
            self.need(self.peek() in " \t\r")
        at_us = self.read_time()
        component = next((tags.pop(tag) for tag in self.component_tags if tag in tags), None)
        self.need(component is not None)
        prefix = "" if measurement == "gaugehouse" else measurement + "."
        suffix = "".join("." + tags[tag] for tag in self.metric_tags if tag in tags)
        rows = [Row(line, component, prefix + name + suffix, at_us, value) for name, value in fields]
        for row in rows:
            if find_name_problem(row.component) or find_name_problem(row.name):
                raise BadLine(line)
        return rows

    def read_field(self, line):
        name = self.read_until(",= ", ",= ")
        self.need(name and self.peek() == "=")
        self.position += 1
        if self.peek() == '"':
            return name, self.read_string(line)
        text = []
        while self.peek() and self.peek() > " " and self.peek() != ",":
            text.append(self.peek())
            self.position += 1
        return name, self.read_scalar("".join(text))

    def read_string(self, line):
        read = []
        self.position += 1
        while self.peek() != '"':
            if not self.peek():
                raise BadLine(line)
            if self.peek() == "\\" and self.text[self.position + 1 : self.position + 2] in {'"', "\\"}:
                self.position += 1
            read.append(self.peek())
            self.line += self.peek() == "\n"
            self.position += 1
        self.position += 1
        return "".join(read)

    def read_scalar(self, text):
        if text in BOOLEANS:
            return BOOLEANS[text]
        if match := INTEGER.fullmatch(text):
            value = int(match[1] or match[2])
            self.need(abs(value) <= 2**53)
            return float(value)
        self.need(FLOAT.fullmatch(text))
        value = float(text)
        self.need(abs(value) < float("inf"))
        return value

    def read_time(self):
        start = self.position
        self.skip_to_newline()
        text = self.text[start : self.position].strip(" \t") if start < self.position else ""
        text = text.rstrip(" \t\r")
        if not text:
            return self.now_us
        self.need(TIME.fullmatch(text) and abs(int(text)) < 2**63)
        at_us = int(text) * UNITS_NS[self.unit] // 1000
        self.need(0 <= at_us <= self.now_us + 86_400_000_000)
        return at_us


def read_slowly(text, *, unit="ns", now_us, component_tags=("component", "device", "host"), metric_tags=()):
    """Return the rows of a payload; raise BadLine with the number of the first bad one."""
    options = {"unit": unit, "now_us": now_us, "component_tags": component_tags, "metric_tags": metric_tags}
    return Reader(text, **options).read()


def escape(text, special):
    return "".join("\\" + character if character in special else character for character in text)


def write_string(text):
    return '"' + escape(text, '"\\') + '"'


def write_point(measurement, tags, fields, time):
    """Return one line; field values are texts of line protocol already."""
    key = escape(measurement, ", ") + "".join(f",{escape(k, ',= ')}={escape(v, ',= ')}" for k, v in tags.items())
    written = ",".join(f"{escape(name, ',= ')}={value}" for name, value in fields.items())
    return f"{key} {written}" + ("" if time is None else f" {time}")
