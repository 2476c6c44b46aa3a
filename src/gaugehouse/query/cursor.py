"""The opaque position between two pages: the last key and the moment all pages show."""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gaugehouse.errors import Refused
from gaugehouse.measurements.selection import from_epoch_us, to_epoch_us

CHECK_BYTES = 8
CURSOR_LIMIT_CHARACTERS = 8192  # two names of 200 characters need less than 3,000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where the next page starts.

    Args:
        as_of: Rows received later are not part of these pages.
        key: The last row's key, in the order the pages are sorted by.
    """

    as_of: datetime
    key: tuple[str | int, ...]


def encode_cursor(cursor: Cursor, *, table: str, project: str) -> str:
    """Return a cursor as URL-safe text, bound to its table and project.

    The check sum keeps accidents and a cursor of another project out; it is no signature: a cursor grants nothing,
    because the project of a question never comes from it.
    """
    content = json.dumps([to_epoch_us(cursor.as_of), *cursor.key], ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check(content, table, project) + content).rstrip(b"=").decode()


def decode_cursor(text: str, *, table: str, project: str, types: Sequence[type]) -> Cursor:
    """Return the cursor that `encode_cursor` made for this table and project.

    Args:
        text: As handed out.
        table: What the pages are of.
        project: Slug.
        types: Type of each part of the key.

    Raises:
        Refused: The text was changed, cut, or handed out for something else.
    """
    refused = Refused("the cursor is not one that was handed out here; start again without it", code="cursor_refused")
    if len(text) > CURSOR_LIMIT_CHARACTERS:
        raise refused
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as exc:
        raise refused from exc
    check, content = raw[:CHECK_BYTES], raw[CHECK_BYTES:]
    if check != _check(content, table, project):
        raise refused
    try:  # the check sum is no secret: whoever knows this code can make one around anything
        as_of_us, *key = json.loads(content)
        as_of = from_epoch_us(as_of_us)
    except (ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise refused from exc
    if [type(part) for part in (as_of_us, *key)] != [int, *types] or not all(map(_is_bindable, key)):
        raise refused
    return Cursor(as_of=as_of, key=tuple(key))


def _check(content: bytes, table: str, project: str) -> bytes:
    bound = f"{table}\0{project}\0".encode() + content
    return hashlib.blake2b(bound, digest_size=CHECK_BYTES, person=b"gaugehouse.page").digest()


def _is_bindable(part: str | int) -> bool:
    """Return whether the engine takes a value: its integers have 64 bits, its texts no half of a surrogate pair."""
    if isinstance(part, str):
        return not any("\ud800" <= character <= "\udfff" for character in part)
    return -(2**63) <= part < 2**63
