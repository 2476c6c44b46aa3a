"""Secrets that counted are known again, others are not taken for them but by a rare chance."""

from hashlib import sha256

from gaugehouse.access.met_secrets import BITS, MetSecrets

NO_DATABASE = None


def digest(number):
    return sha256(str(number).encode()).hexdigest()


def test_what_was_added_is_known_and_nothing_else():
    met = MetSecrets(NO_DATABASE, float)
    for number in range(10_000):
        met.add(digest(number))
    assert all(met._has(digest(number)) for number in range(10_000))
    assert not any(met._has(digest(number)) for number in range(10_000, 20_000))


def test_of_a_million_one_in_1700_others_is_taken_for_one_of_them():
    met, secrets = MetSecrets(NO_DATABASE, float), 1_000_000
    share = 1 - (1 - 1 / BITS) ** (3 * secrets)  # of the bits that are set then
    whole = int(share * 256)
    met._bits[:] = bytes(0xFF if place % 256 < whole else 0 for place in range(BITS // 8))
    mistaken = sum(met._has(digest(number)) for number in range(100_000))
    assert 0.5 / 1700 < mistaken / 100_000 < 2 / 1700
