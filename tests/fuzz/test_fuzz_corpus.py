"""What fuzzing has found interesting is read as it should be, without the fuzzer."""

import pytest

from fuzz.corpora import read_corpus
from fuzz.targets import SEEDS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_two_readers_agree_on_everything_that_fuzzing_has_kept(name):
    kept = read_corpus(name)
    assert kept, "make fuzz --keep"
    for body in (*SEEDS[name], *kept):
        TARGETS[name](body)
