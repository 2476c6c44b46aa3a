"""Measurement rows written in many ways, and damage to bytes: all of it repeatable by the random numbers handed in."""

from payloads import (
    ARROW,
    CSV,
    JSON,
    MEASUREMENTS,
    NDJSON,
    PARQUET,
    to_table,
    write_arrow,
    write_columns,
    write_csv,
    write_json,
    write_ndjson,
    write_parquet,
)

TOKENS = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\u", b"\\ud800", b"null", b"NaN", b"-", b"1e999", b"\n", b"\r", b"\x00",
    b"\xff", b"\xed\xa0\x80", b"9" * 30, b"\xef\xbb\xbf", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00" * 8,
]  # fmt: skip
# What sizes, counts, offsets and codes go wrong with.
EXTREMES = [
    sign * (2**power + step) for power in (7, 8, 15, 16, 24, 31, 32, 40, 62, 63) for step in (-1, 0) for sign in (1, -1)
]
EXTREMES += [0, 1, -1, 1_000_000]


def _table(rows):
    return to_table(rows, MEASUREMENTS)


def _coded(rows):
    """Return rows whose components are a dictionary."""
    table = _table(rows)
    return table.set_column(0, "component", table["component"].dictionary_encode())


# name: (media type, how rows become bytes)
WAYS = {
    "json": (JSON, write_json),
    "columns": (JSON, write_columns),
    "ndjson": (NDJSON, write_ndjson),
    "csv": (CSV, lambda rows: write_csv(rows, MEASUREMENTS.names)),
    "arrow": (ARROW, lambda rows: write_arrow(_coded(rows), max_chunksize=7)),
    "arrow-plain": (ARROW, lambda rows: write_arrow(_table(rows))),
    "arrow-zstd": (ARROW, lambda rows: write_arrow(_coded(rows), compression="zstd")),
    "arrow-lz4": (ARROW, lambda rows: write_arrow(_table(rows), compression="lz4")),
    "parquet": (PARQUET, lambda rows: write_parquet(_table(rows))),
    "parquet-plain": (
        PARQUET,
        lambda rows: write_parquet(_table(rows), use_dictionary=False, compression="none", store_schema=False),
    ),
    "parquet-v2": (
        PARQUET,
        lambda rows: write_parquet(_coded(rows), data_page_version="2.0", compression="zstd", row_group_size=7),
    ),
    "parquet-crc": (PARQUET, lambda rows: write_parquet(_table(rows), write_page_checksum=True, compression="gzip")),
}


def mutate(body, rng):
    """Return a body with one to four damages: bits, bytes, tokens, cuts, repeats, swaps."""
    damaged = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(damaged)) if damaged else 0
        match rng.randrange(7):
            case 0 if damaged:
                damaged[at] ^= 1 << rng.randrange(8)
            case 1 if damaged:
                damaged[at] = rng.randrange(256)
            case 2:
                damaged[at:at] = rng.choice(TOKENS)
            case 3:
                del damaged[at : at + rng.choice([1, 4, 64, len(damaged)])]
            case 4:
                token = rng.choice(TOKENS)
                damaged[at : at + len(token)] = token
            case 5:
                end = at + rng.randrange(1, 200)
                damaged[at:at] = damaged[at:end]
            case _:
                other = rng.randrange(len(damaged)) if damaged else 0
                damaged[at : at + 8], damaged[other : other + 8] = damaged[other : other + 8], damaged[at : at + 8]
    return bytes(damaged)


def strike(body, rng):
    """Return a body in which one to three aligned words are extreme numbers: binary formats keep sizes in such."""
    damaged = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        size = rng.choice((1, 2, 4, 8))
        at = size * rng.randrange(max(1, len(damaged) // size))
        damaged[at : at + size] = (rng.choice(EXTREMES) % 256**size).to_bytes(size, "little")
    return bytes(damaged)


def splice(one, other, rng):
    """Return the beginning of one body and the end of another."""
    return one[: rng.randrange(len(one) + 1)] + other[rng.randrange(len(other) + 1) :]
