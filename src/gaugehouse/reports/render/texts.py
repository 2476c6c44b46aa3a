"""Text of users on pages: what cannot be printed or would turn a line around is replaced, long words may break."""

import re

# C0 and C1 controls, what reorders text, surrogates, and what XML 1.0 cannot hold.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
LONG_WORD = re.compile(r"[^\s\u200b]{19,}")
BREAK_AFTER = re.compile(r"([_./:;,=|\\+-]+)(?=[^_./:;,=|\\+-])")
SOLID = re.compile("[^\u200b]{25,}")
SOLID_CHARS = 12
BREAK = "\N{ZERO WIDTH SPACE}"


def clean(text: str) -> str:
    r"""Return a text that any page can show; spaces of all kinds become plain ones.

    >>> clean("press\n1\u202e")
    'press 1�'
    """
    return UNPRINTABLE.sub("\ufffd", re.sub(r"[\t\n\r]+", " ", text))


def breakable(text: str) -> str:
    """Return a clean text in which long words may be broken: after `-`, `_`, `/` and the like, else anywhere.

    >>> breakable("plant/hall-3/line_7/press").replace(BREAK, "|")
    'plant/|hall-|3/|line_|7/|press'
    """
    return LONG_WORD.sub(lambda word: _break_word(word[0]), clean(text))


def _break_word(word: str) -> str:
    marked = BREAK_AFTER.sub(rf"\1{BREAK}", word)
    return SOLID.sub(lambda run: BREAK.join(_pieces(run[0])), marked)


def _pieces(run: str) -> list[str]:
    return [run[start : start + SOLID_CHARS] for start in range(0, len(run), SOLID_CHARS)]


def join_names(names: list[str], *, shown: int = 3) -> str:
    """Return a few names and how many more there are.

    >>> join_names(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - shown
    listed = ", ".join(clean(name) for name in names[:shown])
    return f"{listed} and {more:,} more" if more > 0 else listed


def count_of(count: int, singular: str, plural: str | None = None) -> str:
    """Return a count with its noun.

    >>> count_of(1, "value"), count_of(2_000, "value")
    ('1 value', '2,000 values')
    """
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
