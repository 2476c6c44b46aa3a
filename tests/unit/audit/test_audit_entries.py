"""What an entry's hash covers, and what is kept of what anybody sends."""

from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest

from gaugehouse.audit.entries import (
    DETAILS_CHARACTERS,
    GENESIS,
    Act,
    Entry,
    clean_text,
    hash_entry,
    seal,
    write_details,
)

AT = datetime(2026, 3, 1, 6, tzinfo=UTC)
ACT = Act(
    chain="prj_1",
    actor_kind="user",
    actor="ann",
    action="component.change",
    object_kind="component",
    object_id="cmp_1",
    object_name="pump-1",
    source="192.0.2.7",
    request_id="0123456789abcdef",
    details='{"title":"Pump"}',
)
OTHER = {"number": 2, "at": AT.replace(microsecond=1), "previous_hash": "1" * 64, "object_id": None}


@pytest.mark.parametrize("field", [field.name for field in fields(Entry) if field.name != "hash"])
def test_every_field_is_hashed(field):
    entry = seal(ACT, number=1, at=AT, previous_hash=GENESIS)
    changed = replace(entry, **{field: OTHER.get(field, "another")})
    assert hash_entry(entry) == entry.hash
    assert hash_entry(changed) != entry.hash


def test_the_hash_is_the_same_for_ever():
    """A log that was written years ago must still verify: this value may never change."""
    entry = seal(ACT, number=1, at=AT, previous_hash=GENESIS)
    assert entry.hash == "2ed7cbcb9a192298319dc4bec5d0e85e55e4bbadfc01ce79448ad806c4dc7083"


def test_large_details_keep_the_names_of_their_fields():
    text = write_details({"attributes": "x" * DETAILS_CHARACTERS, "title": "Pump"})
    assert text == '{"fields":["attributes","title"],"shortened":true}'


@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\x00b", "a\ufffdb"), ("\ud800", "?"), ("a\nb", "a\ufffdb"), ("x" * 300, "x" * 200), ("ö", "ö")],
)
def test_texts_of_strangers_can_be_stored(text, kept):
    assert clean_text(text) == kept
