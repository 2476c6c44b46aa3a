"""Compressed bodies: decoded in any cut, refused when torn or spoilt, and bombs cost next to nothing."""

import asyncio
import gzip
import tracemalloc
import zlib
from itertools import pairwise

import numpy as np
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from gaugehouse.errors import TooLarge, Unreadable
from gaugehouse.web.body import DECODED_BYTES, BodyGuard, CountedBody, DecodedBody
from gaugehouse.web.encodings import DECODERS, MEMBERS_LIMIT, STEP_BYTES

MEBIBYTE = 1024 * 1024
ENCODE = {"gzip": gzip.compress, "x-gzip": gzip.compress, "zstd": zstd.compress}
ENCODINGS = sorted(ENCODE)
SKIPPED_FRAME = bytes.fromhex("502a4d1800000000")  # RFC 8878, 3.1.2


def noise_of(size_bytes):
    return np.random.default_rng(1).bytes(size_bytes)


def receive_of(parts):
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False

    async def receive():
        return messages.pop(0)

    return receive


def decode(encoding, *parts, limit_bytes=DECODED_BYTES):
    """Return what parts of a body decode to, through the same classes as in the server."""

    async def drain():
        counted = CountedBody(receive_of(parts), limit_bytes=10 * MEBIBYTE, timeout_s=5)
        decoded = DecodedBody(counted, DECODERS[encoding](), limit_bytes=limit_bytes)
        received = []
        while True:
            message = await decoded()
            received.append(message["body"])
            if not message["more_body"]:
                return b"".join(received)

    return asyncio.run(drain())


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=40)
@given(
    bodies=st.lists(st.binary(max_size=2000), min_size=1, max_size=3), cuts=st.lists(st.integers(0, 6000), max_size=5)
)
def test_a_body_of_several_members_comes_back_however_it_is_cut(encoding, bodies, cuts):
    encoded = b"".join(ENCODE[encoding](body) for body in bodies)
    places = [0, *sorted(min(cut, len(encoded)) for cut in cuts), len(encoded)]
    parts = [encoded[start:stop] for start, stop in pairwise(places)]
    assert decode(encoding, *parts) == b"".join(bodies)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_body_longer_than_a_step_comes_back(encoding):
    body = noise_of(STEP_BYTES + 77) * 3
    assert decode(encoding, ENCODE[encoding](body)) == body
    exact = b"ab" * (STEP_BYTES // 2)
    assert decode(encoding, ENCODE[encoding](exact)) == exact


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_torn_body_is_refused(encoding):
    encoded = ENCODE[encoding](noise_of(3000))
    for kept in (0, 1, 10, len(encoded) // 2, len(encoded) - 1):
        with pytest.raises(Unreadable) as refused:
            decode(encoding, encoded[:kept])
        assert refused.value.code == "broken_encoding"
    with pytest.raises(Unreadable):
        decode(encoding, encoded + encoded[:-1])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_spoilt_body_or_one_with_something_behind_is_refused(encoding):
    encoded = bytearray(gzip.compress(b"abc" * 500) if "gzip" in encoding else _with_checksum(b"abc" * 500))
    for body in (
        bytes(encoded) + b"more",
        bytes(encoded) + b"\0\0\0\0",
        b"no " + encoding.encode(),
        b"plain text" * 100,
    ):
        with pytest.raises(Unreadable):
            decode(encoding, body)
    encoded[-3] ^= 0xFF
    with pytest.raises(Unreadable):
        decode(encoding, bytes(encoded))


def _with_checksum(body):
    return zstd.compress(body, options={zstd.CompressionParameter.checksum_flag: 1})


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_body_of_very_many_parts_is_refused_before_it_takes_time(encoding):
    many = ENCODE[encoding](b"ab") * MEMBERS_LIMIT
    assert decode(encoding, many) == b"ab" * MEMBERS_LIMIT
    for empty in (ENCODE[encoding](b""), *([SKIPPED_FRAME] if encoding == "zstd" else [])):
        with pytest.raises(TooLarge) as refused:
            decode(encoding, many + empty)
        assert refused.value.code == "too_many_parts"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bomb_is_refused_before_it_takes_memory(encoding):
    bomb = ENCODE[encoding](bytes(512 * MEBIBYTE))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge) as refused:
            decode(encoding, bomb)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.value.code == "compressed_too_much"
    assert peak_bytes < 100 * len(bomb) + 8 * MEBIBYTE


def test_a_bomb_in_a_bomb_is_only_the_inner_one():
    bomb = gzip.compress(gzip.compress(bytes(100 * MEBIBYTE)))
    assert len(decode("gzip", bomb)) < MEBIBYTE


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_more_than_the_limit_is_refused_whatever_the_ratio(encoding):
    body = noise_of(3 * MEBIBYTE)
    assert decode(encoding, ENCODE[encoding](body), limit_bytes=len(body)) == body
    with pytest.raises(TooLarge) as refused:
        decode(encoding, ENCODE[encoding](body), limit_bytes=len(body) - 1)
    assert refused.value.fields == {"limit_bytes": len(body) - 1}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_first_mebibyte_may_be_as_dense_as_it_likes(encoding):
    assert decode(encoding, ENCODE[encoding](bytes(MEBIBYTE))) == bytes(MEBIBYTE)
    with pytest.raises(TooLarge):
        decode(encoding, ENCODE[encoding](bytes(MEBIBYTE + 1)))


def test_a_zstd_frame_that_asks_for_a_huge_window_is_refused():
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)
    encoded = compressor.compress(b"abc") + compressor.flush()
    with pytest.raises(Unreadable):
        decode("zstd", encoded)


@settings(max_examples=200)
@given(st.sampled_from(ENCODINGS), st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_cleanly_refused(encoding, noise, is_headed):
    head = {"gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\3", "zstd": b"\x28\xb5\x2f\xfd"}[encoding.removeprefix("x-")]
    try:
        decode(encoding, head + noise if is_headed else noise)
    except (Unreadable, TooLarge):
        return


@pytest.mark.parametrize("encoding", ["gzip", "X-GZIP", "Zstd", " gzip ", "identity", ""])
def test_the_guard_hands_on_decoded_bodies(encoding):
    body = b"m,host=a f=1\n" * 100
    name = encoding.strip().lower()
    assert answer_of(ENCODE[name](body) if name in ENCODE else body, encoding) == (200, str(len(body)))


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"x", 415),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x")), 415),
        ("deflate", zlib.compress(b"x"), 415),
        ("gzip", b"x", 400),
        ("gzip", gzip.compress(bytes(2 * MEBIBYTE)), 413),
    ],
    ids=["unknown", "twice", "not ours", "damaged", "too long"],  # not of the body, which holds the time
)
def test_the_guard_refuses_what_cannot_be_decoded(encoding, body, status):
    assert answer_of(body, encoding)[0] == status


def test_bodies_of_other_addresses_stay_small_when_decoded():
    body = gzip.compress(noise_of(700_000)) * 2
    assert answer_of(body, "gzip", path="/v1/measurements") == (200, "1400000")
    assert answer_of(body, "gzip", path="/v1/reports")[0] == 413


def answer_of(body, encoding, path="/v1/measurements"):
    """Return status and text of an application behind the guard that says how long its body was."""
    sent = []

    async def app(scope, receive, send):
        received = await Request(scope, receive).body()
        await PlainTextResponse(str(len(received)))(scope, receive, send)

    async def send(message):
        sent.append(message)

    headers = [(b"content-encoding", encoding.encode()), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": headers,
        "state": {"request_id": "req-12345678"},
    }
    guard = BodyGuard(app, limit_bytes=10 * MEBIBYTE, timeout_s=5, ingest_paths=frozenset({"/v1/measurements"}))
    try:
        asyncio.run(guard(scope, receive_of([body]), send))
    except Unreadable:
        return 400, ""
    except TooLarge:
        return 413, ""
    return sent[0]["status"], sent[1]["body"].decode()
