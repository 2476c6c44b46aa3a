"""JSON read value by value with the standard library: slow, exact, bounded; explains what the fast readers refuse.

Differs from them on purpose in one point: `NaN`, `Infinity` and `-Infinity` (which many libraries write) are read, so
that their row can be named instead of calling the whole payload unreadable.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from gaugehouse.errors import Refused, TooLarge, Unreadable
from gaugehouse.ingest.bodies import object_of_pairs
from gaugehouse.ingest.flaws import shown
from gaugehouse.ingest.texts import refuse_rows

KEYS_LIMIT = 64  # of the outer object: as many as columns of a table
WINDOWS_CHARS = (1024, 64 * 1024)  # of the text that the decoder is shown: most values are short
LONGEST_SCRAP_CHARS = 16  # what a window leaves of an escape, of `-Infinity` or of `1e-7` when it cuts them
NESTING = ("[", "{")
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(object_pairs_hook=object_of_pairs)


@dataclass(frozen=True, slots=True)
class Nested:
    """An array or object in a column, still as text: a few bytes each, where Python's objects would take hundreds."""

    text: str

    def read(self) -> object:
        found: object = _DECODER.decode(self.text)
        return found


class _Walk:
    """A position in a JSON text."""

    def __init__(self, text: str, longest_chars: int) -> None:
        self.text = text
        self.at = 0
        self.longest_chars = longest_chars
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

    def expect_end(self) -> None:
        if self.peek():
            raise Unreadable(f"the payload goes on after its end at character {self.at}")

    def read(self) -> object:
        found, self.at = _decode_at(self.text, self.at, self.longest_chars)
        self.skip_space()
        return found

    def read_key(self) -> str:
        if self.peek() != '"':
            raise Unreadable(f"the payload is not JSON: expected a key at character {self.at}")
        key = str(self.read())
        self.expect(":")
        return key

    def elements(self, limit: int) -> Iterator[object]:
        """Read an array element by element, so that a hostile one ends at a limit and not at the memory's."""
        self.expect("[")
        if self.take("]"):
            return
        count = 0
        while True:
            if count == limit:
                raise refuse_rows(limit)
            count += 1
            yield self.read()
            if not self.take(","):
                self.expect("]")
                return

    def column(self, limit: int) -> list[object]:
        found: list[object] = []
        start = self.at + 1
        for value in self.elements(limit):
            is_nested = isinstance(value, (list, dict))
            found.append(Nested(self.text[start : self.at].strip(" \t\n\r,")) if is_nested else value)
            start = self.at
        return found

    def rows(self, limit: int) -> Iterator[object]:
        yield from self.elements(limit)
        self.expect_end()

    def rows_of_envelope(self, envelope: str, limit: int) -> Iterator[object]:
        yield from self.elements(limit)
        if self.take(","):
            raise _refuse_repeated(envelope) if self.read_key() == envelope else _refuse_beside(envelope)
        self.expect("}")
        self.expect_end()

    def object(self, envelope: str, *, array_limit: int, column_limit: int) -> Iterator[object] | dict[str, object]:
        self.expect("{")
        found: dict[str, object] = {}
        is_open = not self.take("}")
        while is_open:
            key = self.read_key()
            if key in found:
                raise _refuse_repeated(key)
            if len(found) == KEYS_LIMIT:
                raise Refused(f"an object with more than {KEYS_LIMIT} keys is no delivery", code="unknown_column")
            is_array = self.peek() == "["
            if key == envelope:
                if found:
                    raise _refuse_beside(envelope)
                if not is_array:
                    raise Refused(f"'{envelope}' is not an array", code="wrong_type")
                return self.rows_of_envelope(envelope, array_limit)
            found[key] = self.column(column_limit) if is_array else self.read()
            is_open = self.take(",")
            if not is_open:
                self.expect("}")
        self.expect_end()
        return found


def _refuse_repeated(key: str) -> Refused:
    return Refused(f"the key {shown(key)} is given twice", code="duplicate_key")


def _refuse_beside(envelope: str) -> Refused:
    return Refused(f"beside '{envelope}' no other key is known", code="unknown_column")


def _decode_at(text: str, at: int, longest_chars: int) -> tuple[object, int]:
    """Return the value at a position and where it ends."""
    try:
        return _decode_bounded(text, at, longest_chars)
    except json.JSONDecodeError as exc:
        raise Unreadable(f"the payload is not JSON: {exc.msg} at character {exc.pos}") from exc
    except ValueError as exc:  # an integer of thousands of digits
        raise Unreadable("the payload holds a number with too many digits") from exc
    except RecursionError as exc:
        raise Unreadable("the payload is nested too deeply") from exc


def _decode_bounded(text: str, at: int, longest_chars: int) -> tuple[object, int]:
    # An object of two letters costs a hundred bytes, and the decoder knows no limit: so it is shown no more of an array
    # or object than it may have. A text or a number is never larger than it was written.
    windows_chars = (*WINDOWS_CHARS, longest_chars) if text.startswith(NESTING, at) else (len(text),)
    for window_chars in windows_chars:
        if at + window_chars >= len(text):
            found: tuple[object, int] = _DECODER.raw_decode(text, at)
            return found
        try:
            value, end = _DECODER.raw_decode(text[at : at + window_chars])
        except json.JSONDecodeError as exc:
            if not _is_of_cut(exc, window_chars):
                raise json.JSONDecodeError(exc.msg, text, at + exc.pos) from exc
        else:
            return value, at + end
    raise TooLarge(f"the value at character {at} has more than {longest_chars} characters")


def _is_of_cut(error: json.JSONDecodeError, window_chars: int) -> bool:
    """Say whether an error may come from the end of the window: of a text it is told where it began."""
    return error.msg.startswith("Unterminated string") or error.pos >= window_chars - LONGEST_SCRAP_CHARS


def read_document(
    text: str, envelope: str, *, array_limit: int, column_limit: int, longest_chars: int
) -> Iterator[object] | dict[str, object]:
    """Return a JSON text: the rows of an array, alone or in its envelope, or an object of columns.

    Rows are read while they are asked for, so that only one is there at a time; of columns, arrays and objects in them
    are `Nested`.

    Args:
        text: The payload.
        envelope: Key of the array in an object.
        array_limit: Most rows of an array.
        column_limit: Most rows of a column.
        longest_chars: Longest row, or cell of a column.

    Raises:
        Unreadable: Not JSON, or neither an array nor an object.
        Refused: A key of the outer object comes twice, or one beside the envelope.
        TooLarge: Too many rows, or one too long.
    """
    walk = _Walk(text, longest_chars)
    match walk.peek():
        case "[":
            return walk.rows(array_limit)
        case "{":
            return walk.object(envelope, array_limit=array_limit, column_limit=column_limit)
        case "":
            raise Unreadable("the payload is empty")
        case _:
            raise Unreadable("the payload is neither a JSON array nor a JSON object")


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
        return _decode_at(line, 0, len(line))
    except Unreadable as exc:
        raise Unreadable(f"line {number}: {exc.message}") from exc
