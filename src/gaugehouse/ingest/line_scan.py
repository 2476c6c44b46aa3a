"""Compiled passes over line protocol: where lines, keys, fields and values are; which texts repeat; the numbers.

All compiled code lives in this one module on purpose: numba's cache notices a change of the file of the function it
compiled, not of a function in another file that it calls (see kpi/kernel.py). A pass is one function with the arrays
as plain arguments: handing arrays on to other functions cost ten times the rest (reference counting, row by row).

The *key* of a line is all before its first unescaped space: measurement and tags. A backslash escapes the comma, equals
sign or space behind it and is itself elsewhere, so whether one of these is escaped shows in the byte before it. In
strings it escapes quote and backslash.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]

EMPTY = -1
NO_TIME = np.iinfo(np.int64).min  # of lines without a timestamp
LARGEST_TIME = np.iinfo(np.int64).max

# Rows of the array `lines`, one column per line that has fields; its number counts from 1.
NUMBER, KEY_START, KEY_STOP, TIME_START, TIME_STOP = range(5)
# Rows of the array `cells`, one column per field; of strings the value is what stands between the quotes.
LINE, FIELD_START, FIELD_STOP, VALUE_START, VALUE_STOP, IS_STRING = range(6)
# Rows of the array `problems`, one column per bad line.
PROBLEM_LINE, PROBLEM_REASON, PROBLEM_START, PROBLEM_STOP = range(4)
# Places of the counts that `split_lines` returns.
LINES, CELLS, BAD_LINES = range(3)

FINE, NO_FIELDS, NO_VALUE, NO_FIELD_KEY, OPEN_STRING, BAD_END, LONG_LINE, TOO_MANY = range(8)
BOOLEAN, FLOAT, LONG_FLOAT, NO_NUMBER, BIG_INTEGER, NEGATIVE_UNSIGNED = range(6)  # LONG_FLOAT: not read here
GOOD_TIME, NO_INTEGER, BIG_TIME = range(3)

EXACT_INTEGER_LIMIT = 2**53
SIGNIFICANT_DIGITS = 18  # as many always fit an int64
EXACT_POWER = 22  # the largest power of ten that a float64 holds exactly
POWERS_OF_TEN = 10.0 ** np.arange(EXACT_POWER + 1)
LARGEST_EXPONENT = 100_000

TAB, NEWLINE, RETURN, SPACE, QUOTE, HASH, PLUS, COMMA, MINUS, DOT = 9, 10, 13, 32, 34, 35, 43, 44, 45, 46
ZERO, NINE, EQUALS, BACKSLASH, UPPER_E, LOWER_E, LOWER_I, LOWER_U = 48, 57, 61, 92, 69, 101, 105, 117
WORDS = (b"t", b"T", b"true", b"True", b"TRUE", b"f", b"F", b"false", b"False", b"FALSE")
WORD_BYTES = np.frombuffer(b"".join(word.ljust(5) for word in WORDS), np.uint8).reshape(len(WORDS), 5)
WORD_LENGTHS = np.array([len(word) for word in WORDS])
TRUE_WORDS = 5  # the first five of them

compiled = njit(cache=True, nogil=True, error_model="numpy")
inlined = njit(cache=True, nogil=True, error_model="numpy", inline="always")


@inlined
def _is_blank(byte: int) -> bool:
    return byte == SPACE or byte == TAB  # noqa: PLR1714 - twice as fast as `in`


@compiled
def _find_quote(data: Bytes, pos: int) -> tuple[int, int]:
    """Return (position of the closing quote or the end of the data, newlines before it)."""
    newlines = 0
    while pos < data.size and data[pos] != QUOTE:
        if data[pos] == NEWLINE:
            newlines += 1
        elif data[pos] == BACKSLASH and pos + 1 < data.size and data[pos + 1] in (QUOTE, BACKSLASH):
            pos += 1
        pos += 1
    return min(pos, data.size), newlines


@inlined
def _split_fields(  # noqa: C901 - one pass, see above
    data: Bytes, cells: Int32s, count: int, line: int, pos: int
) -> tuple[int, int, int, int]:
    """Enter the fields of a line; return (where they end or go wrong, reason, newlines inside, count of cells)."""
    size, newlines = data.size, 0
    while True:
        start = pos
        while pos < size:
            byte = data[np.uintp(pos)]
            if byte in (EQUALS, COMMA, SPACE, NEWLINE):
                break
            if byte == BACKSLASH and pos + 1 < size and data[pos + 1] in (SPACE, COMMA, EQUALS):
                pos += 1
            pos += 1
        if pos >= size or data[pos] != EQUALS or pos == start:
            is_cut = pos < size and data[pos] in (EQUALS, COMMA)
            return pos, NO_VALUE if pos > start else NO_FIELD_KEY if is_cut else NO_FIELDS, newlines, count
        if count == cells.shape[1]:
            return pos, TOO_MANY, newlines, count
        cells[LINE, count], cells[FIELD_START, count], cells[FIELD_STOP, count] = line, start, pos
        pos += 1
        start, is_string = pos, pos < size and data[pos] == QUOTE
        if is_string:
            start = pos + 1
            pos, inside = _find_quote(data, start)
            newlines += inside
            if pos == size:
                return pos, OPEN_STRING, newlines, count
        while not is_string and pos < size and data[np.uintp(pos)] != COMMA and data[np.uintp(pos)] > SPACE:
            pos += 1
        cells[VALUE_START, count], cells[VALUE_STOP, count], cells[IS_STRING, count] = start, pos, is_string
        count += 1
        pos += is_string
        if pos >= size or data[pos] != COMMA:
            is_over = pos >= size or data[pos] in (SPACE, TAB, NEWLINE, RETURN)
            return pos, FINE if is_over else BAD_END, newlines, count
        pos += 1


@compiled
def split_lines(  # noqa: C901, PLR0912 - one pass, see above
    data: Bytes, lines: Int32s, cells: Int32s, problems: Int32s, line_limit: int
) -> tuple[int, int, int]:
    """Find every line, key, field, value and timestamp; return the counts LINES, CELLS, BAD_LINES.

    A bad line leaves no cells, only a problem; what follows a string that is never closed belongs to its line.
    """
    size, pos, number, count, cell, bad_lines = data.size, 0, 0, 0, 0, 0
    while pos < size:
        number += 1
        begin, newlines, reason, first = pos, 0, FINE, cell
        while pos < size and _is_blank(data[pos]):
            pos += 1
        start = pos
        if data[pos] == RETURN if pos < size else False:
            pos += pos + 1 == size or data[pos + 1] == NEWLINE
        if pos < size and data[pos] != HASH and data[pos] != NEWLINE:
            while pos < size:
                byte = data[np.uintp(pos)]  # unsigned: nobody asks whether it counts from the end
                if byte <= SPACE and (byte == NEWLINE or (byte == SPACE and data[pos - 1] != BACKSLASH)):
                    break
                pos += 1
            stop = pos
            while pos < size and _is_blank(data[pos]):
                pos += 1
            pos, reason, newlines, cell = _split_fields(data, cells, cell, count, pos)
            lines[NUMBER, count], lines[KEY_START, count], lines[KEY_STOP, count] = number, start, stop
            while pos < size and _is_blank(data[pos]):
                pos += 1
            lines[TIME_START, count] = pos
        bad_at = pos
        while pos < size and data[np.uintp(pos)] != NEWLINE:
            pos += 1
        if pos - begin > line_limit and reason != TOO_MANY:
            reason = LONG_LINE
        if reason == FINE and cell > first:
            stop = pos
            while stop > lines[TIME_START, count] and (_is_blank(data[stop - 1]) or data[stop - 1] == RETURN):
                stop -= 1
            lines[TIME_STOP, count] = stop
            count += 1
        elif reason != FINE:
            if bad_lines < problems.shape[1]:
                problems[PROBLEM_LINE, bad_lines], problems[PROBLEM_REASON, bad_lines] = number, reason
                problems[PROBLEM_START, bad_lines], problems[PROBLEM_STOP, bad_lines] = start, bad_at
            bad_lines, cell = bad_lines + 1, first
            if reason == TOO_MANY:
                break
        number, pos = number + newlines, pos + 1
    return count, cell, bad_lines


@compiled
def number_texts(  # noqa: C901, PLR0912, PLR0913, PLR0917 - one pass, see above
    data: Bytes, starts: Int32s, stops: Int32s, groups: Int32s, slots: Int32s, following: Int32s, seed: np.uint64
) -> tuple[Int32s, Int32s]:
    """Number the distinct (group, text) pairs in the order they come.

    Senders repeat themselves in the same order: what followed last time is tried before the hash table. That one mixes
    like `lake/names.py`, eight bytes at a time: byte by byte (FNV), texts collide whatever most of the seed's bits are.

    Args:
        data: All bytes.
        starts: Where each text begins.
        stops: Where it ends.
        groups: Texts of different groups differ.
        slots: An empty table from `slots_for`.
        following: Room for as many entries as there are texts.
        seed: Secret, so that nobody can choose texts that meet in one slot.

    Returns:
        The number of each text, and for each number the first text that has it.
    """
    mask, count, last = np.uint64(slots.size - 1), 0, EMPTY
    numbers, firsts = np.empty(starts.size, np.int32), np.empty(starts.size, np.int32)
    for i in range(starts.size):
        start, length, found = starts[i], stops[i] - starts[i], EMPTY
        for guess in range(2 if last != EMPTY else 0):
            tried = last if guess else following[last]
            if tried != EMPTY and found == EMPTY:
                other = firsts[tried]
                if groups[other] == groups[i] and stops[other] - starts[other] == length:
                    difference, here, there = np.uint8(0), np.uintp(start), np.uintp(starts[other])
                    for k in range(np.uintp(length)):  # unsigned, and to the end: eight bytes at a time
                        difference |= data[there + k] ^ data[here + k]
                    found = tried if difference == 0 else EMPTY
        if found == EMPTY:
            slot = seed ^ (np.uint64(groups[i]) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(length)
            for at in range(start, start + length, 8):
                word = np.uint64(0)
                for k in range(at, min(at + 8, start + length)):
                    word = (word << np.uint64(8)) | np.uint64(data[np.uintp(k)])
                slot ^= word
                slot = (slot ^ (slot >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                slot = (slot ^ (slot >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                slot ^= slot >> np.uint64(31)
            slot &= mask
            while slots[slot] != EMPTY and found == EMPTY:
                other = firsts[slots[slot]]
                is_same = groups[other] == groups[i] and stops[other] - starts[other] == length
                for k in range(length if is_same else 0):
                    if data[starts[other] + k] != data[start + k]:
                        is_same = False
                        break
                found = slots[slot] if is_same else EMPTY
                slot = (slot + np.uint64(1)) & mask
            if found == EMPTY:
                found = slots[slot] = count
                firsts[count], following[count] = i, EMPTY
                count += 1
        if last not in (EMPTY, found):
            following[last] = found
        numbers[i] = last = found
    return numbers, firsts[:count]


@compiled
def _scan_exponent(data: Bytes, pos: int, stop: int) -> tuple[int, bool]:
    """Return (the exponent that begins with its sign or digits at `pos`, whether it is one up to `stop`)."""
    is_negative = pos < stop and data[pos] == MINUS
    pos += pos < stop and data[pos] in (MINUS, PLUS)
    exponent, is_good = 0, pos < stop
    for i in range(pos, stop):
        is_good = is_good and ZERO <= data[i] <= NINE
        exponent = min(exponent * 10 + int(data[i]) - ZERO, LARGEST_EXPONENT)
    return -exponent if is_negative else exponent, is_good


@compiled
def _read_word(data: Bytes, start: int, stop: int) -> float:
    """Return 1.0 or 0.0 of a boolean, -1.0 of anything else."""
    for word in range(WORD_LENGTHS.size):
        if WORD_LENGTHS[word] == stop - start:
            is_word = True
            for i in range(stop - start):
                is_word = is_word and data[start + i] == WORD_BYTES[word, i]
            if is_word:
                return 1.0 if word < TRUE_WORDS else 0.0
    return -1.0


@compiled
def read_values(  # noqa: C901 - one pass, see above
    data: Bytes, starts: Int32s, stops: Int32s
) -> tuple[Floats, Bytes]:
    """Return (values, kinds: BOOLEAN ... NEGATIVE_UNSIGNED) of texts that are not strings."""
    values, kinds = np.zeros(starts.size, np.float64), np.empty(starts.size, np.uint8)
    for i in range(starts.size):
        pos, stop, kind = int(starts[i]), int(stops[i]), FLOAT
        is_negative = pos < stop and data[pos] == MINUS
        pos += is_negative
        begin, digits, significant, dots, exponent = pos, 0, 0, 0, 0
        while pos < stop:
            digit = int(data[pos]) - ZERO
            if 0 <= digit <= 9:
                significant += significant > 0 or digit > 0
                if significant <= SIGNIFICANT_DIGITS:
                    digits = digits * 10 + digit
                exponent -= dots
            elif data[pos] == DOT and dots == 0:
                dots = 1
            else:
                break
            pos += 1
        is_long = significant > SIGNIFICANT_DIGITS or digits > EXACT_INTEGER_LIMIT
        if pos - begin == dots:
            values[i] = -1.0 if is_negative or dots else _read_word(data, starts[i], stop)
            kind = NO_NUMBER if values[i] < 0 else BOOLEAN
        elif pos < stop and dots == 0 and pos + 1 == stop and data[pos] in (LOWER_I, LOWER_U):
            is_minus = is_negative and data[pos] == LOWER_U
            kind = NEGATIVE_UNSIGNED if is_minus else BIG_INTEGER if is_long else FLOAT
            values[i] = -float(digits) if is_negative and digits else float(digits)
        else:
            if pos < stop:
                more, is_good = _scan_exponent(data, pos + 1, stop)
                exponent += more
                kind = FLOAT if is_good and data[pos] in (LOWER_E, UPPER_E) else NO_NUMBER
            if kind == FLOAT and (is_long or abs(exponent) > EXACT_POWER):
                kind = LONG_FLOAT
            elif kind == FLOAT:
                # Digits and power are exact in a float64, so one operation rounds once: to the nearest float64.
                value = float(digits)
                value = value / POWERS_OF_TEN[-exponent] if exponent < 0 else value * POWERS_OF_TEN[exponent]
                values[i] = -value if is_negative else value
        kinds[i] = kind
    return values, kinds


@compiled
def read_times(data: Bytes, starts: Int32s, stops: Int32s) -> tuple[Int64s, Bytes]:
    """Return (integers, GOOD_TIME or what is wrong); NO_TIME where the text is empty."""
    times, kinds = np.empty(starts.size, np.int64), np.zeros(starts.size, np.uint8)
    for i in range(starts.size):
        pos, stop, time = starts[i], stops[i], np.int64(0)
        length = stop - pos
        if i > 0 and length > 0 and stops[i - 1] - starts[i - 1] == length:  # lines of one instant come together
            difference, here, there = np.uint8(0), np.uintp(pos), np.uintp(starts[i - 1])
            for k in range(np.uintp(length)):
                difference |= data[there + k] ^ data[here + k]
            if difference == 0:
                times[i], kinds[i] = times[i - 1], kinds[i - 1]
                continue
        is_negative = pos < stop and data[pos] == MINUS
        pos += is_negative
        kinds[i] = NO_INTEGER if is_negative and pos == stop else GOOD_TIME
        for k in range(pos, stop):
            digit = np.int64(data[k]) - ZERO
            if not 0 <= digit <= 9:
                kinds[i] = NO_INTEGER
            elif k - pos >= SIGNIFICANT_DIGITS and kinds[i] == GOOD_TIME and time > (LARGEST_TIME - digit) // 10:
                kinds[i] = BIG_TIME
            time = time * 10 + digit
        times[i] = -time if is_negative else time if pos < stop else NO_TIME
    return times, kinds


@compiled
def gather_texts(data: Bytes, starts: Int32s, stops: Int32s) -> tuple[Bytes, Int32s]:
    """Return (the bytes of all texts one behind the other, their offsets: one more than texts)."""
    offsets = np.zeros(starts.size + 1, np.int32)
    for i in range(starts.size):
        offsets[i + 1] = offsets[i] + stops[i] - starts[i]
    joined = np.empty(offsets[-1], np.uint8)
    for i in range(starts.size):
        for k in range(stops[i] - starts[i]):
            joined[offsets[i] + k] = data[starts[i] + k]
    return joined, offsets


def slots_for(texts: int) -> Int32s:
    """Return an empty table with room for `texts` distinct texts at a load of at most one half."""
    size = 16
    while size < 2 * texts:
        size *= 2
    return np.full(size, EMPTY, np.int32)
