"""Ids: random text that says what it names."""

import os
from typing import Literal

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_CHARACTERS = 20  # 119 bits: nobody guesses one, none repeats

IdPrefix = Literal["prj", "usr", "key", "cmp", "met", "rep", "job", "kpi", "exc", "tpl", "sch", "fir", "dlv"]


# 248 byte values are four whole rounds of 62: without the other eight each character is as likely as any other.
_CHARACTER_OF = bytes(ord(BASE62[value % len(BASE62)]) for value in range(256))
_UNFAIR = bytes(range(256 - 256 % len(BASE62), 256))


def random_base62(length: int) -> str:
    """Return text of unpredictable base62 characters; in one go: first sight may name a hundred thousand things."""
    characters = b""
    while len(characters) < length:
        characters += os.urandom(length + 4).translate(_CHARACTER_OF, _UNFAIR)
    return characters[:length].decode()


def new_id(prefix: IdPrefix) -> str:
    """Return a new id such as `cmp_0aZ...`: prefix, underscore, 20 random base62 characters."""
    return f"{prefix}_{random_base62(ID_CHARACTERS)}"


def is_id(text: str, prefix: IdPrefix) -> bool:
    """Say whether a text could be an id of this kind."""
    return len(text) == len(prefix) + 1 + ID_CHARACTERS and text.startswith(f"{prefix}_")
