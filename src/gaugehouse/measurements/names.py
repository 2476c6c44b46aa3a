"""Which texts may name a component, a metric, an event kind or a project."""

import re
import unicodedata

NAME_LIMIT_CHARS = 200
PROJECT_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # becomes a Delta partition value: no spaces (delta-rs#4352)
REFUSED_CATEGORIES = {
    "Cc": "contains a control character",
    "Cs": "contains half of a surrogate pair",  # cannot be encoded as UTF-8: one in an answer would be a 500
    "Zl": "contains a line separator",
    "Zp": "contains a paragraph separator",
}
# All characters of these categories: one search is 50 times faster than asking each character (tested to agree).
REFUSED_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def find_name_problem(name: str) -> str | None:
    """Return why a text cannot be a name, or None when it can: 1-200 characters, NFC, printable, no outer space.

    >>> find_name_problem("Förderband 3") is None
    True
    >>> find_name_problem(" pump")
    'starts or ends with a space'
    """
    if not name:
        return "is empty"
    if len(name) > NAME_LIMIT_CHARS:
        return f"has {len(name)} characters, at most {NAME_LIMIT_CHARS} are allowed"
    refused = REFUSED_CHARACTER.search(name)
    reason = REFUSED_CATEGORIES[unicodedata.category(refused[0])] if refused else None
    if reason is None and name != name.strip():
        reason = "starts or ends with a space"
    if reason is None and not unicodedata.is_normalized("NFC", name):
        reason = "is not in Unicode normal form C"
    return reason


def find_project_problem(slug: str) -> str | None:
    """Return why a text cannot be a project's slug, or None when it can.

    >>> find_project_problem("plant-7") is None
    True
    """
    if PROJECT_PATTERN.fullmatch(slug):
        return None
    return "must be 1-63 of a-z, 0-9 and '-', not starting with '-'"
