"""Damaged payloads: whatever the bytes are, the answer is a batch or a GaugehouseError, in one process that lives."""

import base64
import json
import random
import time
import zlib
from datetime import UTC, datetime, timedelta

import pytest

from damage import WAYS, mutate
from gaugehouse.errors import GaugehouseError, Unreadable
from gaugehouse.ingest import Limits
from payloads import ARROW, CSV, EVENTS, JSON, MEASUREMENTS, NDJSON, PARQUET, write

START = datetime(2026, 11, 20, 10, tzinfo=UTC)
MEASUREMENT_ROWS = [
    {
        "component": f"pump-{i % 3}",
        "metric": "Förderhöhe" if i % 2 else "rpm",
        "measured_at": START + timedelta(milliseconds=i),
        "value": i / 7,
        "quality": i % 3,
    }
    for i in range(30)
]
EVENT_ROWS = [
    {"component": "a", "kind": "alarm", "occurred_at": START, "body": json.dumps({"code": i, "text": ["x", None]})}
    for i in range(10)
]
SEEDS = {name: (media_type, write_way(MEASUREMENT_ROWS)) for name, (media_type, write_way) in WAYS.items()}
EVENT_SEEDS = {media_type: write(EVENT_ROWS, media_type, EVENTS) for media_type in (JSON, NDJSON, CSV, ARROW, PARQUET)}


def check(decode, body, media_type, schema_names):
    try:
        decoded = decode(body, media_type, partial=True, limits=Limits(decoded_limit_bytes=4 << 20, rows_limit=5000))
    except GaugehouseError as refused:
        # An answer must be writable as JSON, whatever was in the payload.
        json.dumps([refused.message, refused.fields], allow_nan=False).encode()
        return
    decoded.batch.validate(full=True)
    assert decoded.batch.column_names == schema_names
    assert len(decoded.batch) + decoded.bad_rows <= 5000


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_measurements_are_refused_or_read_but_never_break_anything(name, decode):
    media_type, body = SEEDS[name]
    rng = random.Random(name)  # noqa: S311 - damage, repeatable by seed
    for _ in range(250):
        check(decode, mutate(body, rng), media_type, MEASUREMENTS.names)


@pytest.mark.parametrize("media_type", EVENT_SEEDS)
def test_damaged_events_are_refused_or_read_but_never_break_anything(media_type, decode_event_rows):
    rng = random.Random(media_type)  # noqa: S311 - damage, repeatable by seed
    for _ in range(150):
        check(decode_event_rows, mutate(EVENT_SEEDS[media_type], rng), media_type, [*EVENTS.names, "body_hash"])


# One of the damaged files: asking pyarrow 26.0.1 for `metadata.row_group(0).column(i)` of it aborts the process.
ABORTING_PARQUET = zlib.decompress(
    base64.b85decode(
        "c-"
        "rljPiWI{6vux})0lO2w9{Wqq(X%ybg+(fu%Qr0yoiG#!;^=B3tgatrp>Z;>TO349%KjcD0=bWVR)#XhHM}M4~hy3J18nTn9MO`%)"
        "j`O_v@Bw2MXdv!)rdjyx)7@U;53TcI4QpJSFrs579$)7z$KK50b3l)*Lt2FC+U>DMAPbA3Y+#9+TUn{Pw8-"
        "|7>^`{G5+LG+7(<Tt`kEU#xrMwpU!N7wwR{QP{(L0uZkFSJS0GrVakTi$d&N3RygH^!mwLV*-"
        "&yvUDvNNhI4M8@fJ?)XIJ2!w1MakC9iOA}=f>-"
        "RH>DuaM?jWOfyqe2?7PK)%>SE`37IeM4U1@T6u0WHF8$=|CRoL}nzUco4aM2>I+V@~(=!(T%*6L!Qec#|DrM6I$7(4$XEA%_dDS2"
        ")7yEw&tt}*|2SF^Gmvh77XMgW4Z45!H!=Vw}ZnsEWc`C*E*ZuFmRC%tZvf?4!b_G`p-"
        "r=7<^@Y#KifCiT#|3bx{*_coXYmCh7?$wu!8-"
        "jrGM@Upwndu)e*luY>g^&4vl!)t3lF(}U0ZUdX&(`GYkPcJw#LlvhdvL>8tBMcc7xoX~{I$!&#-<5tRcxvG-kv|r|D1;?&>6NN^K"
        "hg7>`TT?a99zSDM)&0X4Q|X>Sp2k&8j!j#onoTGNg?lDzR%xPoUX_M#?h`wqMADVCGOCd@O(?2Bl+dCSCZ&1|LKF3tKSN5I`Zpy<"
        "bZLcC1Vtk{NQT7Nxduv?1qf|ErtkLJ4XG_eo78wz3xCZ(a*c=3p0w+~_4?RZr#rkz92Y^mLh=hq{ns8df{)oQ@*K)Hu0XKBJq|*f"
        "qxw%bWD5~#?SQ0fB7kHwuH{YE>}syyx;e}9DrYm(wl_6VDQEfzd;5Cx$|&3%;UERjAAx@u-vQ>~5t;"
    )
)


def test_a_footer_that_pyarrow_aborts_on_is_unreadable(decode):
    with pytest.raises(Unreadable):
        decode(ABORTING_PARQUET, PARQUET)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SEEDS)
def test_ten_thousand_damaged_payloads_of_each_format_are_answered_in_time(name, decode):
    media_type, body = SEEDS[name]
    for seed in range(10_000):
        rng = random.Random(f"{name} {seed}")  # noqa: S311 - damage, repeatable by seed
        damaged = mutate(body, rng)
        started = time.perf_counter()
        check(decode, damaged, media_type, MEASUREMENTS.names)
        assert time.perf_counter() - started < 2, seed
