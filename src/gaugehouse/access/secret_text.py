"""Secrets that are handed out as text: a prefix, 30 random base62 characters and 6 that check them."""

import hashlib
import re
import zlib

from gaugehouse.database.ids import BASE62, random_base62

SECRET_CHARACTERS = 30  # 178 bits
CHECK_CHARACTERS = 6
PATTERN = re.compile(rf"[0-9A-Za-z]{{{SECRET_CHARACTERS + CHECK_CHARACTERS}}}")


def make_secret(prefix: str) -> str:
    """Return a new secret."""
    secret = random_base62(SECRET_CHARACTERS)
    return f"{prefix}{secret}{_check_characters(secret)}"


def is_well_formed(text: str, prefix: str) -> bool:
    """Return whether a text can be such a secret at all: its pattern and its check characters agree."""
    secret = text[len(prefix) :]
    if not text.startswith(prefix) or not PATTERN.fullmatch(secret):
        return False
    return secret[-CHECK_CHARACTERS:] == _check_characters(secret[:SECRET_CHARACTERS])


def hash_secret(text: str) -> str:
    """Return what is stored of a secret. A plain hash is enough above 112 random bits (ASVS 6.5.2)."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _check_characters(secret: str) -> str:
    number = zlib.crc32(secret.encode("ascii"))
    characters = []
    for _ in range(CHECK_CHARACTERS):
        number, digit = divmod(number, len(BASE62))
        characters.append(BASE62[digit])
    return "".join(reversed(characters))
