"""How many refusals become entries."""

from gaugehouse.audit.repeats import BURST_ENTRIES, KEYS_REMEMBERED, WINDOW_S, Admitted, Repeats


def test_the_first_is_written_and_repeats_are_counted_into_the_next():
    repeats = Repeats()
    assert repeats.admit("guess", 0.0) == Admitted()
    assert [repeats.admit("guess", second / 10) for second in range(100)] == [None] * 100
    assert repeats.admit("guess", WINDOW_S) == Admitted(repeats=100)


def test_a_count_is_told_when_nobody_comes_again():
    repeats = Repeats()
    repeats.admit("guess", 0.0)
    repeats.admit("guess", 1.0)
    assert repeats.settle(WINDOW_S - 1) == []
    assert repeats.settle(WINDOW_S) == [("guess", 1)]
    assert repeats.settle(WINDOW_S) == []
    repeats.admit("guess", WINDOW_S)
    repeats.admit("guess", WINDOW_S)
    assert repeats.settle(WINDOW_S, is_last=True) == [("guess", 1)]


def test_a_million_different_ones_are_few_entries_and_none_is_uncounted():
    repeats = Repeats()
    admitted = [repeats.admit(number, number / 1_000) for number in range(100_000)]  # 100 s
    written = [one for one in admitted if one is not None]
    assert len(written) <= BURST_ENTRIES + 17
    assert len(repeats._seen) <= KEYS_REMEMBERED
    last = repeats.admit("last", 1_000.0)
    assert last is not None
    assert sum(1 + one.others for one in written) + last.others == 100_000
