"""Versions of firmware: which texts are versions of a project, and which of two is the newer one. Pure.

A project says in which *form* its versions are:

| form | versions | order |
|---|---|---|
| `dotted` (the default) | `1.1`, `1.0.3`, `2.0.0-rc.1+b7`: 2 to 4 numbers, then as SemVer | a missing number is 0 |
| `semver` | what SemVer 2.0.0 allows, nothing else | SemVer 2.0.0, clause 11 |
| a pattern | `FW{number}.{number}[-{word}]` | field by field, numbers as numbers, words as texts |

In a pattern `{number}` is 1 to 18 digits, `{word}` 1 to 32 ASCII letters and digits, `[...]` may be missing, all else
stands for itself. A version without an optional part is older than one with it; where the part begins with `-`, as
that of a candidate does, it is newer. There are no regular expressions: which way a text goes on is decided by its next
character alone, so a version is read once from left to right, whatever the pattern.
"""

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from gaugehouse.errors import Refused

MAX_VERSION_CHARACTERS = 100
MAX_PATTERN_CHARACTERS = 100
NUMBER_DIGITS = 18  # fits 64 bits
WORD_CHARACTERS = 32
DOTTED_NUMBERS = range(2, 5)
DIGITS = frozenset(string.digits)
WORDS = frozenset(string.ascii_letters + string.digits)
IDENTIFIERS = WORDS | {"-"}

VERSION_REFUSED = "version_refused"
FIELDS: Mapping[str, frozenset[str]] = {"{number}": DIGITS, "{word}": WORDS}
LENGTHS: Mapping[str, int] = {"{number}": NUMBER_DIGITS, "{word}": WORD_CHARACTERS}
Precedence: TypeAlias = tuple[object, ...]  # compares with others of the same form
Group: TypeAlias = tuple[str, ...]  # fields, and single characters that stand for themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How the versions of a project look. From `read_form`."""

    text: str
    find_precedence: Callable[[str], Precedence | None]

    def precedence(self, version: str) -> Precedence | None:
        """Return what orders a version among others of this form, None for a text that is none."""
        if not 0 < len(version) <= MAX_VERSION_CHARACTERS or not version.isascii():
            return None
        return self.find_precedence(version)

    def is_newer(self, version: str, other: str) -> bool | None:
        """Say whether a version comes behind another; None when one of them is no version of this form."""
        mine, its = self.precedence(version), self.precedence(other)
        return None if mine is None or its is None else mine > its

    def check(self, version: str) -> None:
        """Raise Refused for a text that is no version of this form."""
        if self.precedence(version) is None:
            raise Refused(
                f"{version[:MAX_VERSION_CHARACTERS]!r} is no version of the form {self.text}",
                code=VERSION_REFUSED,
                fields={"errors": [{"field": "version", "reason": f"is not of the form {self.text}"}]},
            )


@lru_cache(maxsize=1024)
def read_form(text: str) -> Form:
    """Return the form that a text names: `dotted`, `semver`, or a pattern with at least one `{number}`.

    Raises:
        Refused: it is none, or a pattern whose versions could be read in two ways.
    """
    if text == "dotted":
        return Form(text=text, find_precedence=_read_dotted)
    if text == "semver":
        return Form(text=text, find_precedence=_read_semver)
    groups = _read_pattern(text)
    return Form(text=text, find_precedence=lambda version: _match(groups, version))


# --- dotted, and SemVer


def _read_semver(version: str) -> Precedence | None:
    core, tail = _split_core(version)
    numbers = core.split(".")
    if len(numbers) != 3 or not all(_is_number(number) and not _has_leading_zero(number) for number in numbers):
        return None
    return _with_tail(tuple(map(int, numbers)), tail)


def _read_dotted(version: str) -> Precedence | None:
    core, tail = _split_core(version)
    numbers = core.split(".")
    if len(numbers) not in DOTTED_NUMBERS:
        return None
    if not all(_is_number(number) and len(number) <= NUMBER_DIGITS for number in numbers):
        return None
    missing = DOTTED_NUMBERS[-1] - len(numbers)
    return _with_tail((*map(int, numbers), *(0,) * missing), tail)


def _split_core(version: str) -> tuple[str, str]:
    """Split a version before its first `-` or `+`."""
    ends = [end for end in (version.find("-"), version.find("+")) if end >= 0]
    return (version[: min(ends)], version[min(ends) :]) if ends else (version, "")


def _with_tail(numbers: tuple[int, ...], tail: str) -> Precedence | None:
    """Return the precedence of numbers and what follows them; what is built of a version has none."""
    candidate, plus, build = tail.partition("+")
    if plus and not all(_is_identifier(part) for part in build.split(".")):
        return None
    if not candidate:
        return (numbers, (1,))  # a release is newer than its candidates
    parts = candidate[1:].split(".")
    if not all(_is_identifier(part) and not (_is_number(part) and _has_leading_zero(part)) for part in parts):
        return None
    ranks = tuple((0, int(part), "") if _is_number(part) else (1, 0, part) for part in parts)
    return (numbers, (0, ranks))


def _is_number(text: str) -> bool:
    return bool(text) and DIGITS.issuperset(text)


def _has_leading_zero(number: str) -> bool:
    return len(number) > 1 and number[0] == "0"


def _is_identifier(text: str) -> bool:
    return bool(text) and IDENTIFIERS.issuperset(text)


# --- patterns


def _read_pattern(text: str) -> tuple[tuple[bool, Group], ...]:
    """Return the groups of a pattern, each with whether it may be missing."""
    if not 0 < len(text) <= MAX_PATTERN_CHARACTERS or not text.isascii() or not text.isprintable() or " " in text:
        raise _refused(text, f"is 1 to {MAX_PATTERN_CHARACTERS} printable ASCII characters without spaces")
    groups: list[tuple[bool, Group]] = []
    rest = text
    while rest:
        is_optional = rest[0] == "["
        end = rest.find("]") if is_optional else rest.find("[")
        inside = rest[1:end] if is_optional else rest[: end if end >= 0 else None]
        if is_optional and end < 0:
            raise _refused(text, "has a [ without its ]")
        groups.append((is_optional, tuple(_split_pattern(text, inside))))
        rest = rest[end + 1 :] if is_optional else rest[len(inside) :]
    _check_pattern(text, groups)
    return tuple(groups)


def _split_pattern(text: str, inside: str) -> Iterator[str]:
    while inside:
        field = next((field for field in FIELDS if inside.startswith(field)), inside[0])
        if field in set("{}[]"):
            raise _refused(
                text, "knows {number}, {word} and [...], which cannot stand in one another; no other brackets"
            )
        yield field
        inside = inside[len(field) :]


def _check_pattern(text: str, groups: Sequence[tuple[bool, Group]]) -> None:
    if not any(not is_optional and "{number}" in group for is_optional, group in groups):
        raise _refused(text, "needs a {number} that is always there, to tell the newer of two versions")
    following: frozenset[str] = frozenset()  # characters that may come next
    for is_optional, group in reversed(groups):
        behind = following
        for part in reversed(group):
            if part in FIELDS and FIELDS[part] & following:
                raise _refused(text, f"leaves open where {part} ends: put another character behind it")
            following = FIELDS.get(part, frozenset(part))
        if is_optional and (not group or group[0] in FIELDS or group[0] in behind):
            raise _refused(text, "has an optional part that cannot be told from what follows by its first character")
        if is_optional:
            following |= behind


def _match(groups: tuple[tuple[bool, Group], ...], version: str) -> Precedence | None:
    position = 0
    precedence: list[object] = []
    for is_optional, group in groups:
        is_candidate = group[0] == "-"
        if is_optional and not version.startswith(group[0], position):
            precedence.append((1 if is_candidate else 0,))
            continue
        fields: list[object] = []
        for part in group:
            end = _find_end(part, version, position)
            if end is None:
                return None
            if part in FIELDS:
                fields.append(int(version[position:end]) if part == "{number}" else version[position:end])
            position = end
        precedence.append((0 if is_candidate and is_optional else 1, tuple(fields)))
    return tuple(precedence) if position == len(version) else None


def _find_end(part: str, version: str, position: int) -> int | None:
    """Return where a part of a pattern ends in a version, None where it is not there."""
    if part not in FIELDS:
        return position + 1 if version.startswith(part, position) else None
    end = position
    while end < len(version) and version[end] in FIELDS[part]:
        end += 1
    return end if 0 < end - position <= LENGTHS[part] else None


def _refused(text: str, reason: str) -> Refused:
    return Refused(
        f"{text[:MAX_PATTERN_CHARACTERS]!r} is no form of versions (dotted, semver, or a pattern): a pattern {reason}",
        code="form_refused",
        fields={"errors": [{"field": "form", "reason": reason}]},
    )
