"""Event bodies: any JSON value, kept as one canonical text so that equal bodies have equal hashes."""

import hashlib
import json
from collections.abc import Sequence
from typing import NoReturn

import pyarrow as pa

BODY_HASH_BYTES = 16


class BodyRefused(ValueError):
    """A body cannot be kept; the text says why."""


class DuplicateKeys(dict[str, object]):
    """A JSON object in which a key came twice."""

    duplicate: str = ""


def object_of_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; one that repeats a key is marked, not silently reduced to the last."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = DuplicateKeys(found)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            marked.duplicate = key
            break
        seen.add(key)
    return marked


def _refuse_constant(constant: str) -> NoReturn:
    raise BodyRefused(f"holds {constant}, which is not JSON")


_BODY_DECODER = json.JSONDecoder(object_pairs_hook=object_of_pairs, parse_constant=_refuse_constant)


def canonical_body(body: object, *, depth_limit: int, size_limit_bytes: int) -> str:
    """Return a JSON value as text with sorted keys and no spaces.

    Raises:
        BodyRefused: Too deep, too long, a key twice, a number or text that JSON cannot carry.
    """
    _check_depth(body, depth_limit)
    try:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size_bytes = len(text.encode())
    except UnicodeEncodeError as exc:
        raise BodyRefused("contains half of a surrogate pair") from exc
    except ValueError as exc:
        raise BodyRefused("holds a number that JSON cannot carry") from exc
    if size_bytes > size_limit_bytes:
        raise BodyRefused(f"has {size_bytes} bytes, at most {size_limit_bytes} are allowed")
    return text


def body_from_text(text: str) -> object:
    """Return the JSON value that a text of a CSV, Arrow or Parquet column stands for.

    A text that is JSON is that value, any other text is a JSON string of itself.
    """
    try:
        body: object = _BODY_DECODER.decode(text)
    except (ValueError, RecursionError):
        return text
    return body


def _check_depth(body: object, depth_limit: int) -> None:
    level: Sequence[object] = [body]
    for depth in range(depth_limit + 2):
        inner: list[object] = []
        for value in level:
            if isinstance(value, DuplicateKeys):
                raise BodyRefused("repeats a key")
            if isinstance(value, dict):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
            else:
                continue
            if depth >= depth_limit:
                raise BodyRefused(f"is nested deeper than {depth_limit}")
        if not inner:
            return
        level = inner


def hash_bodies(bodies: pa.StringArray) -> pa.Array:
    """Return BLAKE2b-128 of each canonical body as fixed-size binary."""
    hashes = [hashlib.blake2b(text.encode(), digest_size=BODY_HASH_BYTES).digest() for text in bodies.to_pylist()]
    return pa.array(hashes, pa.binary(BODY_HASH_BYTES))
