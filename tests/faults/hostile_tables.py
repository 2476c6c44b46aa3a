"""Arrow streams and Parquet files that a reader may choke on: numbers that lie, types that are not read, bombs."""

import io
import struct
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from damage import EXTREMES
from faults.hostile_texts import Body
from payloads import ARROW, PARQUET, TIMESTAMP, write_arrow, write_parquet

COUNT = 1009  # rows: a number that hardly occurs in a file for any other reason
MANY = 2_000_000


def good_table(aim, count=COUNT):
    """Return rows of the attack's own component; all texts are of one length, so that offsets are known."""
    return pa.table(
        {
            "component": pa.array([aim.tag] * count),
            "metric": pa.array([f"m{n % 8}" for n in range(count)]),
            "measured_at": pa.array([aim.epoch_us(n) for n in range(count)], pa.int64()).cast(TIMESTAMP),
            "value": pa.array(np.arange(count) / 7),
            "quality": pa.array(np.zeros(count, np.uint8)),
        }
    )


def body_of(aim, table):
    """Return a table as one of the two formats, whatever of it that one can carry."""
    if aim.rng.random() < 0.5:
        return Body("measurements", ARROW, write_arrow(table, compression=aim.rng.choice((None, "zstd", "lz4"))))
    return Body("measurements", PARQUET, write_parquet(table, compression=aim.rng.choice(COMPRESSIONS)))


COMPRESSIONS = ("none", "snappy", "gzip", "brotli", "lz4", "zstd")


def change_one(content, known, written, rng):
    """Return bytes with one occurrence of a known sequence overwritten."""
    places, at = [], content.find(known)
    while at >= 0:
        places.append(at)
        at = content.find(known, at + 1)
    if not places:
        return content
    at = rng.choice(places)
    return content[:at] + written + content[at + len(written) :]


# --- numbers that lie


def lengths_of_arrow(aim):
    """An Arrow stream one of whose counts, lengths or sizes is not true."""
    table = good_table(aim)
    is_compressed = aim.rng.random() < 0.5
    content = write_arrow(table, compression="zstd" if is_compressed else None)
    text_bytes = len(aim.tag) * COUNT
    known = aim.rng.choice(
        (COUNT, 8 * COUNT, 8 * COUNT + 8, 4 * (COUNT + 1), text_bytes, text_bytes // 8 * 8 + 8, COUNT + 7)
    )
    return Body("measurements", ARROW, _lie(content, "<q", known, aim.rng))


def offsets_of_arrow(aim):
    """An Arrow stream whose texts begin or end elsewhere than in their data."""
    length = len(aim.tag)
    at = aim.rng.randrange(COUNT - 2)
    known = struct.pack("<3i", *(length * (at + k) for k in range(3)))
    false = struct.pack("<3i", *(_fit(aim.rng.choice((*EXTREMES, length * at - 1)), 4) for _ in range(3)))
    content = write_arrow(good_table(aim))
    return Body("measurements", ARROW, change_one(content, known, false, aim.rng))


def codes_of_arrow(aim):
    """An Arrow stream whose codes point outside its dictionary, at nulls in it, or at texts that repeat."""
    codes = np.arange(COUNT, dtype=aim.rng.choice((np.int8, np.int16, np.int32, np.int64, np.uint32))) % 4
    words = pa.array(
        aim.rng.choice(([aim.tag, "b", "c", "d"], [aim.tag, None, "c", "c"], [aim.tag, "", "\u0000", " "]))
    )
    column = pa.DictionaryArray.from_arrays(pa.array(codes), words)
    table = good_table(aim).set_column(aim.rng.randrange(2), aim.rng.choice(("component", "metric")), column)
    size = codes.itemsize
    false = _fit(aim.rng.choice(EXTREMES), size).to_bytes(size, "little", signed=True)
    content = write_arrow(table)
    return Body("measurements", ARROW, change_one(content, codes[:4].tobytes(), false, aim.rng))


def _fit(number, size):
    """Return a number as a signed one of so many bytes."""
    wrapped = number % 256**size
    return wrapped - 256**size if wrapped >= 256**size // 2 else wrapped


def _lie(content, layout, known, rng):
    size = struct.calcsize(layout)
    false = _fit(rng.choice((*EXTREMES, known - 1, known + 1, -known)), size)
    return change_one(content, struct.pack(layout, known), struct.pack(layout, false), rng)


def numbers_of_parquet(aim):
    """A Parquet file whose footer, or one of its page headers, tells another number of rows, bytes or pages."""
    content = write_parquet(good_table(aim), compression=aim.rng.choice(COMPRESSIONS), use_dictionary=False)
    footer_bytes = struct.unpack("<I", content[-8:-4])[0]
    start = len(content) - 8 - footer_bytes
    head, footer = content[:start], content[start:-8]
    known = aim.rng.choice((COUNT, 8 * COUNT, 4))
    false = _varint(aim.rng.choice(EXTREMES))
    if aim.rng.random() < 0.6:
        footer = _replace_one(footer, _varint(known), false, aim.rng)
    else:  # everything behind moves by some bytes, unless the lie is as long as the truth
        head = _replace_one(head, _varint(known), aim.rng.choice((false, false[:2].ljust(2, b"\0"))), aim.rng)
    told_bytes = len(footer) if aim.rng.random() < 0.8 else _fit(aim.rng.choice(EXTREMES), 4) % 2**32
    return Body("measurements", PARQUET, head + footer + struct.pack("<I", told_bytes) + b"PAR1")


def _replace_one(content, known, written, rng):
    parts = content.split(known)
    if len(parts) < 2:
        return content
    at = rng.randrange(1, len(parts))
    return known.join(parts[:at]) + written + known.join(parts[at:])


def _varint(number):
    """Return a zigzag number of the Thrift compact protocol."""
    return _unsigned(((number << 1) ^ (number >> 63)) % 2**64)


def _unsigned(number):
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(written) + bytes([number])


def messages_of_arrow(aim):
    """An Arrow stream whose messages are repeated, missing, in another order, or of another stream."""
    compression = aim.rng.choice((None, "zstd"))
    coded = good_table(aim, 40).set_column(0, "component", pa.array([aim.tag, f"{aim.tag}-b"] * 20).dictionary_encode())
    messages = [
        message.serialize() for table in (coded, good_table(aim, 9)) for message in _messages(table, compression)
    ]
    for _ in range(aim.rng.randint(1, 3)):
        at = aim.rng.randrange(len(messages))
        match aim.rng.randrange(4):
            case 0:
                messages.insert(at, aim.rng.choice(messages))
            case 1 if len(messages) > 1:
                messages.pop(at)
            case 2:
                aim.rng.shuffle(messages)
            case _:
                messages.insert(at, b"\xff\xff\xff\xff\0\0\0\0")  # the end of a stream
    return Body("measurements", ARROW, b"".join(map(bytes, messages)))


def _messages(table, compression):
    return list(pa.ipc.MessageReader.open_stream(write_arrow(table, compression=compression, max_chunksize=10)))


# --- types that are not read, or hardly


def _repeat(cell, of_type=None):
    return lambda count: pa.array([cell] * count, of_type)


COLUMNS = [
    _repeat("x", pa.string_view()),
    _repeat(b"x", pa.binary_view()),
    _repeat("x", pa.large_string()),
    _repeat(b"\xff\xfe", pa.binary()),
    _repeat(b"0123456789abcdef", pa.binary(16)),
    _repeat(["x"], pa.list_(pa.string())),
    _repeat([["x"]], pa.large_list(pa.list_(pa.string()))),
    _repeat({"a": 1.0}, pa.struct({"a": pa.float64()})),
    _repeat([("a", 1)], pa.map_(pa.string(), pa.int64())),
    _repeat(None, pa.null()),
    _repeat(1.5, pa.float16()),
    _repeat(1.5, pa.float32()),
    _repeat(1, pa.decimal128(38, 3)),
    _repeat(1, pa.decimal256(76, -3)),
    _repeat(2**64 - 1, pa.uint64()),
    _repeat(-(2**63), pa.int64()),
    _repeat(2**63 - 1, pa.int64()),
    _repeat(True, pa.bool_()),
    _repeat(1, pa.date32()),
    _repeat(1, pa.date64()),
    _repeat(1, pa.time32("s")),
    _repeat(1, pa.time64("ns")),
    _repeat(1, pa.duration("us")),
    _repeat((1, 2, 3), pa.month_day_nano_interval()),
    *(
        _repeat(1, pa.timestamp(unit, tz))
        for unit in ("s", "ms", "us", "ns")
        for tz in ("UTC", None, "Mars/Phobos", "+99:99", "")
    ),
    *(_repeat(extreme, pa.timestamp("s", "UTC")) for extreme in (2**62, -(2**62), 2**63 - 1, -(2**63))),
    *(_repeat(extreme, pa.timestamp("us", "UTC")) for extreme in (2**62, -(2**63), 253_402_300_800_000_000)),
    _repeat(float("nan")),
    _repeat(float("inf")),
    _repeat(""),
    _repeat("\u0000"),
    _repeat("x" * 300),
    lambda count: pa.array(["x"] * count).dictionary_encode(),
    lambda count: pa.array([1.5] * count).dictionary_encode(),
    lambda count: pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int8()), pa.array([None], pa.string())),
    lambda count: pa.RunEndEncodedArray.from_arrays(pa.array([count], pa.int32()), pa.array(["x"])),
    lambda count: pa.UnionArray.from_sparse(pa.array([0] * count, pa.int8()), [pa.array(["x"] * count)]),
    lambda count: pa.UnionArray.from_dense(
        pa.array([0] * count, pa.int8()), pa.array(range(count), pa.int32()), [pa.array(["x"] * count)]
    ),
    lambda count: pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"] * count, pa.binary(16))),
    lambda count: pa.ExtensionArray.from_storage(pa.json_(), pa.array(["1"] * count)),
    lambda count: pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1] * count, pa.int8())),
]


def types_of_tables(aim):
    """One column of a type that is not read, or of cells at the end of their type."""
    table = good_table(aim, 50)
    column = aim.rng.choice(COLUMNS)(50)
    at = aim.rng.randrange(5)
    table = table.set_column(at, table.column_names[at], column)
    try:
        return body_of(aim, table)
    except (pa.ArrowException, OSError):  # Parquet has no such type
        return Body("measurements", ARROW, write_arrow(table))


def schemas_of_tables(aim):
    """Columns that are missing, repeated, too many, or named oddly; metadata that is large or pretends to be a type."""
    table = good_table(aim, 20)
    match aim.rng.randrange(8):
        case 0:
            table = table.drop_columns(aim.rng.choice(table.column_names))
        case 1:
            table = pa.Table.from_arrays([*table.columns, table["value"]], [*table.column_names, "value"])
        case 2:
            names = [f"c{n}" for n in range(aim.rng.choice((60, 3000)))]
            table = pa.Table.from_arrays([table["value"]] * len(names), names)
        case 3:
            odd = aim.rng.choice(("", "\u0000", "x" * 100_000, "Value", " value", "va\nlue", "\U0001f680"))
            table = table.rename_columns([*table.column_names[:-1], odd])
        case 4:
            table = table.replace_schema_metadata({"k" * aim.rng.choice((9, 5_000_000)): "v" * 100})
        case 5:
            extension = {"ARROW:extension:name": "x", "ARROW:extension:metadata": "\u0000"}
            fields = [field.with_metadata(extension) for field in table.schema]
            table = pa.Table.from_arrays(table.columns, schema=pa.schema(fields))
        case 6:
            table = table.slice(0, 0)
        case _:
            zone = pa.timestamp("us", "Z" * aim.rng.choice((5, 1_000_000)))
            table = table.set_column(2, "measured_at", table["measured_at"].cast(pa.int64()).cast(zone))
    return body_of(aim, table)


WRITINGS = [
    {"data_page_size": 1, "write_batch_size": 1},
    {"row_group_size": 1},
    {"data_page_version": "2.0", "data_page_size": 64},
    {"use_byte_stream_split": ["value"], "use_dictionary": False},
    {"use_dictionary": False, "column_encoding": {"component": "DELTA_BYTE_ARRAY"}},
    {"use_dictionary": False, "column_encoding": {"metric": "DELTA_LENGTH_BYTE_ARRAY"}},
    {"use_dictionary": False, "column_encoding": {"measured_at": "DELTA_BINARY_PACKED"}},
    {"write_page_index": True},
    {"use_deprecated_int96_timestamps": True},
    {"coerce_timestamps": "ms", "allow_truncated_timestamps": True},
    {"store_schema": False, "version": "1.0"},
    {"write_statistics": False, "write_page_checksum": True},
    {"dictionary_pagesize_limit": 1},
    {"sorting_columns": [pq.SortingColumn(3, descending=True)]},
]


def writings_of_parquet(aim):
    """A sound file, written as hardly anybody does."""
    content = write_parquet(good_table(aim), compression=aim.rng.choice(COMPRESSIONS), **aim.rng.choice(WRITINGS))
    return Body("measurements", PARQUET, content)


# --- small on the wire


@lru_cache(maxsize=1)
def _long_texts():
    """Return two million rows whose names are one text of 100 kB: 190 GiB for who writes each of them out."""
    zeros = pa.array(np.zeros(MANY, np.int32))
    names = pa.DictionaryArray.from_arrays(zeros, pa.array(["x" * 100_000]))
    return pa.table({"component": names, "metric": names, **_numbers(MANY)})


def _numbers(count):
    measured_at = pa.array(np.zeros(count, np.int64)).cast(TIMESTAMP)
    return {"measured_at": measured_at, "value": np.zeros(count), "quality": np.zeros(count, np.uint8)}


def _dictionaries():
    """Return batches that each bring a dictionary of their own."""
    texts = (pa.array([f"{n:03}" * 7000]).dictionary_encode() for n in range(90))
    return [pa.table({"component": text, "metric": text, **_numbers(1)}) for text in texts]


def _nested():
    nested = pa.string()
    for _ in range(60):
        nested = pa.list_(nested)
    return pa.table({"component": pa.array([None], nested)})


def _one_text():
    return pa.table({"component": pa.array(["x" * 60_000_000]), "metric": ["m"], **_numbers(1)})


def list_of_parquet(groups=400, count=9_000_000):
    """Return a file whose columns, 60 a row group, all begin at one page header: a list of so many numbers."""
    header = b"\x19\xf5" + _unsigned(count) + bytes(count) + b"\x15\0\x15\0\0"
    size = _varint(len(header))
    chunk = b"\x3c\x15\0\x66" + size + b"\x26" + _varint(4) + b"\0\0"
    group = b"\x19\xfc" + _unsigned(60) + chunk * 60 + b"\x26" + _varint(1) + b"\0"
    footer = b"\x49\xfc" + _unsigned(groups) + group * groups + b"\0"
    return b"PAR1" + header + footer + struct.pack("<I", len(footer)) + b"PAR1"


# Small on the wire, or much work, and no row in them that could be stored.
BOMBS = [
    lambda: (PARQUET, write_parquet(_long_texts(), compression="zstd")),
    lambda: (ARROW, write_arrow(_long_texts(), compression="zstd")),
    lambda: (PARQUET, write_parquet(_long_texts().slice(0, 99_999), compression="zstd")),
    lambda: (ARROW, write_arrow(_long_texts().slice(0, 99_999), compression="zstd")),
    lambda: (PARQUET, write_parquet(_one_text(), compression="zstd", use_dictionary=False)),
    lambda: (ARROW, write_arrow(_one_text(), compression="zstd")),
    lambda: (ARROW, _write_batches([_long_texts().slice(0, 0)] * 5000)),
    lambda: (ARROW, _write_batches(_dictionaries())),
    lambda: (ARROW, write_arrow(_nested())),
    lambda: (ARROW, _write_file(_long_texts().slice(0, 10))),
    lambda: (PARQUET, list_of_parquet()),
]


@lru_cache(maxsize=len(BOMBS))
def _bomb(number):
    return BOMBS[number]()


def _write_batches(tables):
    sink, schema = io.BytesIO(), tables[0].schema
    with pa.ipc.new_stream(sink, schema) as writer:
        for table in tables:
            for batch in table.to_batches() or [pa.RecordBatch.from_pylist([], schema)]:
                writer.write_batch(batch)
    return sink.getvalue()


def _write_file(table):
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def bombs_of_tables(aim):
    return Body("measurements", *_bomb(aim.rng.randrange(len(BOMBS))))


TABLE_KINDS = {
    "lengths of Arrow": lengths_of_arrow,
    "offsets of Arrow": offsets_of_arrow,
    "codes of Arrow": codes_of_arrow,
    "messages of Arrow": messages_of_arrow,
    "numbers of Parquet": numbers_of_parquet,
    "writings of Parquet": writings_of_parquet,
    "types of tables": types_of_tables,
    "schemas of tables": schemas_of_tables,
    "bombs of tables": bombs_of_tables,
}
