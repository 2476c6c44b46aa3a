"""Keys that sign tokens: made once, sealed, followed by the next without a token lost."""

import threading
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import func, select, update

from functional.installation import wait_until
from gaugehouse.access import Access, rotate_signing_key
from gaugehouse.access.signing_keys import ACTIVATION_S, MISS_PERIOD_S, OVERLAP_S, SigningKeys
from gaugehouse.database.dump import dump_database
from gaugehouse.database.tables import SigningKey
from gaugehouse.errors import AlreadyExists, Unauthenticated

SECRET = bytes(range(32))
PASSWORD = "a long enough password"


def sign_in(access):
    return access.issue_token("mona", PASSWORD).access_token


def kid_of(token):
    return jwt.get_unverified_header(token)["kid"]


def rotate(plant, **wanted):
    with plant.transaction() as session:
        return rotate_signing_key(session, secret=SECRET, **wanted)


def let_pass(plant, clock, seconds):
    """Move the keys into the past by the database's clock, and the process's own clock on."""
    clock.now_s += seconds
    with plant.transaction() as session:
        for row in session.scalars(select(SigningKey)).all():
            row.signs_from -= timedelta(seconds=seconds)
            if row.verifies_until is not None:
                row.verifies_until -= timedelta(seconds=seconds)


def count_keys(plant):
    with plant.reading() as session:
        return session.scalar(select(func.count()).select_from(SigningKey))


class CountingDatabase:
    """Counts how often it is read."""

    def __init__(self, database):
        self._database = database
        self.reads = 0

    def reading(self):
        self.reads += 1
        return self._database.reading()

    def transaction(self):
        return self._database.transaction()


def test_the_first_token_makes_the_key_and_all_processes_share_it(plant, access):
    tokens = [sign_in(access), sign_in(Access(plant, SECRET, 900)), sign_in(access)]
    assert len({kid_of(token) for token in tokens}) == 1
    assert count_keys(plant) == 1
    assert all(Access(plant, SECRET, 900).caller_of_token(token).name == "mona" for token in tokens)


def test_processes_that_start_at_once_understand_each_other(plant):
    doors = [Access(plant, SECRET, 900) for _ in range(4)]
    tokens, barrier = [], threading.Barrier(4)

    def start(door):
        barrier.wait()
        tokens.append(door.issue_operator_token("default"))

    threads = [threading.Thread(target=start, args=(door,)) for door in doors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 4
    for door in doors:
        assert [door.caller_of_token(token).kind for token in tokens] == ["operator"] * 4


def test_the_private_key_is_neither_readable_in_the_database_nor_in_a_backup(plant, access):
    sign_in(access)
    with plant.reading() as session:
        row = session.scalars(select(SigningKey)).one()
    assert SigningKeys(plant, bytes(32), 900, lambda: 0.0).describe() == {"keys": []}
    assert row.sealed_by not in row.sealed
    assert row.kid.encode() not in b"".join(dump_database(plant))


def test_a_new_key_is_known_before_it_signs_and_the_old_one_goes_with_its_last_token(plant, access, clock):
    other = Access(plant, SECRET, 900, clock=clock)
    old = sign_in(access)
    rotated = rotate(plant)
    assert rotated.previous == (kid_of(old),)
    clock.now_s += 1.0
    assert {key["kid"] for key in access.describe_keys()["keys"]} == {kid_of(old), rotated.kid}
    assert kid_of(sign_in(access)) == kid_of(old)
    let_pass(plant, clock, ACTIVATION_S)
    new = sign_in(access)
    assert kid_of(new) == rotated.kid
    for door in (access, other):
        assert [door.caller_of_token(token).name for token in (old, new)] == ["mona", "mona"]
    let_pass(plant, clock, 900 + OVERLAP_S - 1)
    assert access.caller_of_token(old).name == "mona"
    let_pass(plant, clock, 1)
    with pytest.raises(Unauthenticated):
        access.caller_of_token(old)
    assert access.caller_of_token(new).name == "mona"
    assert [key["kid"] for key in access.describe_keys()["keys"]] == [rotated.kid]


def test_a_key_that_is_of_no_use_is_dropped(plant, access, clock):
    for _ in range(4):
        sign_in(access)
        rotate(plant)
        let_pass(plant, clock, 86_400)
    assert count_keys(plant) == 2


def test_rotating_again_before_the_new_key_signs_is_refused(plant, access, clock):
    sign_in(access)
    rotate(plant)
    with pytest.raises(AlreadyExists) as caught:
        rotate(plant)
    assert caught.value.code == "rotation_under_way"
    let_pass(plant, clock, ACTIVATION_S)
    rotate(plant)


def test_an_old_key_waits_for_the_longest_tokens_of_any_process(plant, access, clock):
    sign_in(access)
    long = Access(plant, SECRET, 7_200, clock=clock)
    token = sign_in(long)
    rotate(plant)
    let_pass(plant, clock, 7_200 + ACTIVATION_S)
    assert long.caller_of_token(token).name == "mona"


def test_a_rotation_at_once_ends_all_tokens_within_a_second(plant, access, clock):
    old = sign_in(access)
    access.caller_of_token(old)
    rotated = rotate(plant, at_once=True)
    assert rotated.verifies_until is None
    clock.now_s += 1.0
    with pytest.raises(Unauthenticated):
        access.caller_of_token(old)
    assert kid_of(sign_in(access)) == rotated.kid
    assert count_keys(plant) == 1


def test_a_key_that_is_not_known_yet_is_looked_for_at_once(plant, access, clock):
    other = Access(plant, SECRET, 900, clock=clock)
    sign_in(other)
    other.caller_of_token(sign_in(other))
    rotate(plant, at_once=True)
    new = sign_in(Access(plant, SECRET, 900))
    assert other.caller_of_token(new).name == "mona"  # no second has passed


def test_made_up_names_of_keys_do_not_reach_the_database(plant, access, clock):
    sign_in(access)
    counting = CountingDatabase(plant)
    keys = SigningKeys(counting, SECRET, 900, clock)
    for number in range(1000):
        assert keys.find(f"{number:043}") is None
    assert counting.reads <= 2
    clock.now_s += MISS_PERIOD_S
    assert keys.find("x" * 43) is None
    assert counting.reads <= 3


def test_a_damaged_key_is_left_out_and_followed_by_a_new_one(plant, access):
    old = sign_in(access)
    with plant.transaction() as session:
        session.execute(update(SigningKey).values(sealed="AAAA"))
    again = Access(plant, SECRET, 900)
    new = sign_in(again)
    assert kid_of(new) != kid_of(old)
    assert again.caller_of_token(new).name == "mona"


def test_others_verify_tokens_with_the_public_keys(plant, access):
    token = sign_in(access)
    ((key),) = access.describe_keys()["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    public = jwt.PyJWK(key).key
    assert isinstance(public, Ed25519PublicKey)
    claims = jwt.decode(token, public, algorithms=["EdDSA"], audience="gaugehouse-api")
    assert claims["iss"].startswith("urn:gaugehouse:")
    assert "d" not in key


def test_tokens_under_load_survive_rotations(plant):
    """Two doors, as two processes have them, issue and read while keys follow one another: not one token is lost."""
    doors = [Access(plant, SECRET, 900) for _ in range(2)]
    ending, lost, read = threading.Event(), [], []

    def go(issuer, reader):
        while not ending.is_set():
            token = issuer.issue_operator_token("default")
            try:
                reader.caller_of_token(token)
                read.append(kid_of(token))
            except Unauthenticated as exc:
                lost.append(exc)

    threads = [threading.Thread(target=go, args=pair) for pair in (doors, doors[::-1])]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: read, what="the first token")
        for _ in range(2):  # by name: two processes that begin at once may each make a first key
            newest = rotate(plant).kid
            wait_until(lambda: newest in read, what="a token of the newest key")  # noqa: B023 - used at once
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    assert not lost
