"""JSON read value by value with the standard library: slow, exact, bounded; explains what the fast readers refuse.

Differs from them on purpose in one point: `NaN`, `Infinity` and `-Infinity` (which many libraries write) are read, so
that their row can be named instead of calling the whole payload unreadable.
"""

import json
import re
from collections.abc import Iterator

from gaugehouse.errors import Refused, Unreadable
from gaugehouse.ingest.bodies import object_of_pairs
from gaugehouse.ingest.flaws import shown
from gaugehouse.ingest.texts import refuse_rows

KEYS_LIMIT = 64  # of the outer object: as many as columns of a table
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(object_pairs_hook=object_of_pairs)


class _Walk:
    """A position in a JSON text."""

    def __init__(self, text: str, row_limit: int) -> None:
        self.text = text
        self.at = 0
        self.row_limit = row_limit
        self.skip_space()

    def skip_space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, wanted: str) -> bool:
        if self.peek() != wanted:
            return False
        self.at += 1
        self.skip_space()
        return True

    def expect(self, wanted: str) -> None:
        if not self.take(wanted):
            raise Unreadable(f"the payload is not JSON: expected '{wanted}' at character {self.at}")

    def read(self) -> object:
        found, self.at = _decode_at(self.text, self.at)
        self.skip_space()
        return found

    def read_array(self) -> list[object]:
        """Read an array element by element, so that a hostile one ends at the row limit and not at the memory's."""
        self.expect("[")
        found: list[object] = []
        if self.take("]"):
            return found
        while True:
            if len(found) == self.row_limit:
                raise refuse_rows(self.row_limit)
            found.append(self.read())
            if not self.take(","):
                self.expect("]")
                return found

    def read_object(self) -> dict[str, object]:
        self.expect("{")
        found: dict[str, object] = {}
        if self.take("}"):
            return found
        while True:
            if self.peek() != '"':
                raise Unreadable(f"the payload is not JSON: expected a key at character {self.at}")
            key = str(self.read())
            if key in found:
                raise Refused(f"the key {shown(key)} is given twice", code="duplicate_key")
            if len(found) == KEYS_LIMIT:
                raise Refused(f"an object with more than {KEYS_LIMIT} keys is no delivery", code="unknown_column")
            self.expect(":")
            found[key] = self.read_array() if self.peek() == "[" else self.read()
            if not self.take(","):
                self.expect("}")
                return found


def _decode_at(text: str, at: int) -> tuple[object, int]:
    try:
        found: tuple[object, int] = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as exc:
        raise Unreadable(f"the payload is not JSON: {exc.msg} at character {exc.pos}") from exc
    except ValueError as exc:  # an integer of thousands of digits
        raise Unreadable("the payload holds a number with too many digits") from exc
    except RecursionError as exc:
        raise Unreadable("the payload is nested too deeply") from exc
    return found


def read_document(text: str, *, row_limit: int) -> list[object] | dict[str, object]:
    """Return a JSON text that is an array of rows or an object of columns.

    Raises:
        Unreadable: Not JSON, or neither an array nor an object.
        Refused: A key of the outer object comes twice.
        TooLarge: An outer array is longer than `row_limit`.
    """
    walk = _Walk(text, row_limit)
    match walk.peek():
        case "[":
            found: list[object] | dict[str, object] = walk.read_array()
        case "{":
            found = walk.read_object()
        case "":
            raise Unreadable("the payload is empty")
        case _:
            raise Unreadable("the payload is neither a JSON array nor a JSON object")
    if walk.peek():
        raise Unreadable(f"the payload goes on after its end at character {walk.at}")
    return found


def read_lines(text: str, *, row_limit: int) -> Iterator[object]:
    """Yield the value of each line that is not blank.

    Raises:
        Unreadable: A line is not one JSON value.
        TooLarge: More lines than `row_limit`.
    """
    count = 0
    for number, line in enumerate(_split(text), start=1):
        stripped = line.strip(" \t\r")
        if not stripped:
            continue
        count += 1
        if count > row_limit:
            raise refuse_rows(row_limit)
        found, end = _decode_line(stripped, number)
        if end != len(stripped):
            raise Unreadable(f"line {number} goes on after its JSON value")
        yield found


def _split(text: str) -> Iterator[str]:
    # Not text.split(): ten million empty lines would be ten million texts before the first is looked at.
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _decode_line(line: str, number: int) -> tuple[object, int]:
    try:
        return _decode_at(line, 0)
    except Unreadable as exc:
        raise Unreadable(f"line {number}: {exc.message}") from exc
