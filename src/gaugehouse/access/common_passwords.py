"""Passwords that everybody tries first: the 30,000 most frequent of leaked ones, as the library zxcvbn brings them."""

from functools import cache


@cache
def load_common_passwords() -> frozenset[str]:
    """Return them casefolded; read when the first password is set.

    Source: zxcvbn (MIT), list `passwords`: passwords of leaks by frequency.
    """
    # 15 MB and a tenth of a second that only who sets a password needs, not every server, worker and command.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415

    return frozenset(word.casefold() for word in FREQUENCY_LISTS["passwords"])


def find_common_part(password: str, *, names: tuple[str, ...]) -> str | None:
    """Return why a password is one that is tried first, None if it is not.

    Looked at without regard to case: the whole, what is repeated in it, and what is left of it without the names.

    Args:
        password: As it was typed.
        names: Of the user and of the service: who guesses knows them.
    """
    common, whole = load_common_passwords(), password.casefold()
    if whole in common or _find_repeated(whole) in common:
        return "is among the most common ones"
    rest = whole
    for name in names:
        rest = rest.replace(name.casefold(), "") if name else rest
    if rest != whole and (len(rest) < len(whole) // 2 or rest in common):
        return "is little more than the name of the user or of the service"
    return None


def _find_repeated(text: str) -> str:
    """Return the shortest text that `text` is a repetition of, itself for none."""
    length = (text + text).find(text, 1)
    return text[:length]
