"""Which texts, labels and attributes the inventory accepts. Pure."""

import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gaugehouse.errors import Refused

MAX_LABELS = 16
MAX_LABEL_KEY_CHARACTERS = 64
MAX_TEXT_CHARACTERS = 256
MAX_ATTRIBUTES_BYTES = 16 * 1024
MAX_NUMBER = sys.float_info.max
NAMES_PER_STATEMENT = 1000  # SQLite binds at most 32,766 values, PostgreSQL 65,535


def find_text_problem(text: str, *, limit_characters: int = MAX_TEXT_CHARACTERS) -> str | None:
    """Return why a free text (title, unit, label value, search) cannot be stored or bound, or None."""
    if len(text) > limit_characters:
        return f"has {len(text)} characters, at most {limit_characters} are allowed"
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        return "contains a control character or half of a surrogate pair"
    return None


def find_label_problem(labels: Mapping[str, object]) -> str | None:
    """Return why labels are not acceptable: at most 16 of short text to text."""
    if len(labels) > MAX_LABELS:
        return f"are {len(labels)}, at most {MAX_LABELS} are allowed"
    for key, value in labels.items():
        problem = find_label_key_problem(key)
        if problem is not None:
            return f"have a key that {problem}"
        if not isinstance(value, str):
            return f"have for {key!r} a value that is not text"
        problem = find_text_problem(value)
        if problem is not None:
            return f"have for {key!r} a value that {problem}"
    return None


def find_label_key_problem(key: str) -> str | None:
    """Return why a text cannot be a label's key. Quotes and backslashes would change an SQLite JSON path."""
    if not key:
        return "is empty"
    if '"' in key or "\\" in key:
        return "contains a quote or a backslash"
    return find_text_problem(key, limit_characters=MAX_LABEL_KEY_CHARACTERS)


def find_attributes_problem(attributes: Mapping[str, object]) -> str | None:
    """Return why attributes cannot be kept as JSON on both engines."""
    try:
        text = json.dumps(attributes, allow_nan=False, ensure_ascii=False)
        size_bytes = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError):  # UnicodeEncodeError of a lone surrogate is a ValueError
        return "are not plain JSON (no NaN, no half surrogates, no deep nesting)"
    if "\\u0000" in text:
        return "contain a NUL character"
    if size_bytes > MAX_ATTRIBUTES_BYTES:
        return f"take {size_bytes} bytes, at most {MAX_ATTRIBUTES_BYTES} are allowed"
    return None


def find_number_problem(value: object, *, positive: bool) -> str | None:
    """Return why a value is no number that can be kept, or None; None itself is fine."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "is not a number"
    if not -MAX_NUMBER <= value <= MAX_NUMBER:  # also false for NaN; an int of any size can be compared
        return "is not a finite number"
    return "is not above 0" if positive and value <= 0 else None


def split_names(names: Iterable[str]) -> Iterator[list[str]]:
    """Yield names in portions that one statement can bind."""
    portion: list[str] = []
    for name in names:
        portion.append(name)
        if len(portion) == NAMES_PER_STATEMENT:
            yield portion
            portion = []
    if portion:
        yield portion


def read_labels(texts: Sequence[str] | None) -> dict[str, str]:
    """Return labels from texts like `line:A`.

    Raises:
        Refused: A text without a colon, or a key twice.
    """
    labels: dict[str, str] = {}
    for text in texts or []:
        key, colon, value = text.partition(":")
        if not colon or key in labels:
            raise Refused("a label is asked for as key:value, each key once", code="label_refused")
        labels[key] = value
    return labels
