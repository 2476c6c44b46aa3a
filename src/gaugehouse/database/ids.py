"""Ids: random text that says what it names."""

import secrets
from typing import Literal

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_CHARACTERS = 20  # 119 bits: nobody guesses one, none repeats

IdPrefix = Literal["prj", "usr", "key", "cmp", "met", "rep", "job", "kpi", "exc", "tpl", "sch", "fir", "dlv"]


def random_base62(length: int) -> str:
    """Return text of unpredictable base62 characters."""
    return "".join(secrets.choice(BASE62) for _ in range(length))


def new_id(prefix: IdPrefix) -> str:
    """Return a new id such as `cmp_0aZ...`: prefix, underscore, 20 random base62 characters."""
    return f"{prefix}_{random_base62(ID_CHARACTERS)}"


def is_id(text: str, prefix: IdPrefix) -> bool:
    """Say whether a text could be an id of this kind."""
    return len(text) == len(prefix) + 1 + ID_CHARACTERS and text.startswith(f"{prefix}_")
