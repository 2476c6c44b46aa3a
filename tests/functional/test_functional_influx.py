"""Senders of InfluxDB's world against a real server: its own clients, Telegraf's requests, and bombs."""

import gzip
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import psutil
import pytest
from backports import zstd
from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from influxdb_client_3 import InfluxDBClient3, InfluxDBError, write_client_options
from influxdb_client_3 import WriteOptions as WriteOptions3

from functional.installation import wait_until
from functional.rows import read_back

START = datetime(2026, 6, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MEBIBYTE = 1024 * 1024
# What Telegraf's inputs of the same names send, with every kind of tag and value they have.
TELEGRAF = """\
cpu,cpu=cpu0,host={host} time_user=154324.34,time_idle=1527035.04,usage_user=25.000000002273737,usage_idle=68.75 {ns}
cpu,cpu=cpu1,host={host} time_user=157479.25,time_idle=264641.18,usage_user=4.166666666414029,usage_idle=87.49999998938922 {ns}
cpu,cpu=cpu-total,host={host} usage_user=14.583333,usage_idle=78.1250,usage_guest_nice=0 {ns}
mem,host={host} active=9299595264i,available_percent=80.41654254645131,vmalloc_total=35184372087808i,used_percent=15.9 {ns}
disk,device=sda1,fstype=ext4,host={host},mode=rw,path=/ free=398407520256i,used_percent=20.131039916242397 {ns}
disk,device=sda2,fstype=ext4,host={host},mode=rw,path=/var/log\\ old free=100i,used_percent=0 {ns}
diskio,host={host},name=sda1 reads=2353i,writes=10i,io_time=1271i,iops_in_progress=0i {ns}
diskio,host={host},name=dm-0 reads=1063077i,writes=591025i,io_time=852490i,iops_in_progress=1i {ns}
net,host={host},interface=eth0 bytes_sent=451838509i,bytes_recv=3284081640i,err_in=0i,drop_in=4i {ns}
net,host={host},interface=all tcp_maxconn=-1i,tcp_rtomax=120000i,udp_noports=5961i {ns}
system,host={host} load1=3.72,load5=2.4,load15=2.1,n_users=3i,n_cpus=4i {ns}
system,host={host} uptime=1249632i {ns}
system,host={host} uptime_format="14 days, 11:07" {ns}
processes,host={host} running=1i,sleeping=200i,total_threads=620i {ns}
"""


def to_ns(moment):
    return int(moment.timestamp()) * 10**9


def telegraf_payload(host):
    return TELEGRAF.format(host=host, ns=to_ns(START)).encode()


@pytest.fixture(scope="module")
def client(house):
    with InfluxDBClient(url=house.url, token=house.key, org="plant", enable_gzip=True) as client:
        yield client


def expected(component, metric, count):
    return [(component, metric, START + i * SECOND, i + 0.25, 0) for i in range(count)]


def test_the_client_of_version_2_writes_synchronously_with_gzip(client, viewer):
    assert client.ping()
    assert client.version()
    points = [
        Point("weather").tag("device", "v2 sync").tag("site", "A, B=C").field("temp", i + 0.25).time(START + i * SECOND)
        for i in range(50)
    ]
    points.append(Point("weather").tag("device", "v2 sync").field("note", 'say "hi",\n\\o/').time(START))
    points.append(Point("weather").tag("device", "v2 sync").field("ok", True).field("n", 7).time(START))
    client.write_api(write_options=SYNCHRONOUS).write("default", record=points)
    rows = read_back(viewer, "v2 sync")
    assert [row for row in rows if row[1] == "weather.temp"] == expected("v2 sync", "weather.temp", 50)
    assert {row[1]: row[3] for row in rows if row[1] != "weather.temp"} == {"weather.ok": 1, "weather.n": 7}
    events = viewer.get("/v1/components/v2 sync/events").json()["items"]
    assert [(event["kind"], event["body"]) for event in events] == [("weather.note", 'say "hi",\n\\o/')]
    assert viewer.get("/v1/components/v2 sync").json()["labels"] == {"site": "A, B=C"}


@pytest.mark.parametrize("precision", [WritePrecision.NS, WritePrecision.US, WritePrecision.MS, WritePrecision.S])
def test_the_client_of_version_2_writes_in_every_precision(client, viewer, precision):
    name = f"v2 {precision}"
    points = [Point("p").tag("host", name).field("f", i + 0.25).time(START + i * SECOND, precision) for i in range(5)]
    client.write_api(write_options=SYNCHRONOUS).write("default", record=points, write_precision=precision)
    assert read_back(viewer, name) == expected(name, "p.f", 5)


def test_the_client_of_version_2_writes_in_batches_of_its_own(client, viewer):
    failures = []
    options = WriteOptions(batch_size=500, flush_interval=200, retry_interval=100)
    with client.write_api(write_options=options, error_callback=lambda *_: failures.append(_)) as write_api:
        for i in range(5000):
            write_api.write("default", record=f"p,host=v2\\ batch f={i + 0.25} {to_ns(START + i * SECOND)}")
    assert failures == []
    assert read_back(viewer, "v2 batch") == expected("v2 batch", "p.f", 5000)


def test_the_client_of_version_2_reads_our_refusals(client, viewer):
    write_api = client.write_api(write_options=SYNCHRONOUS)
    with pytest.raises(ApiException) as refused:
        write_api.write("default", record="p,host=v2bad f=1\np,host=v2bad f=x")
    assert refused.value.status == 400
    assert "line 2" in refused.value.message
    with pytest.raises(ApiException) as refused:
        write_api.write("elsewhere", record="p,host=v2bad f=1")
    assert refused.value.status == 404
    assert viewer.get("/v1/components/v2bad").status_code == 404


def test_a_wrong_token_is_refused(house):
    with InfluxDBClient(url=house.url, token="wrong", org="plant") as stranger, pytest.raises(ApiException) as refused:
        stranger.write_api(write_options=SYNCHRONOUS).write("default", record="p,host=a f=1")
    assert refused.value.status == 401


@pytest.mark.parametrize("is_batched", [False, True])
def test_the_client_of_version_3_writes(house, viewer, is_batched):
    name = f"v3 {is_batched}"
    options = (
        write_client_options(write_options=WriteOptions3(batch_size=100, flush_interval=200)) if is_batched else None
    )
    with InfluxDBClient3(
        host=house.url, token=house.key, database="default", enable_gzip=True, write_client_options=options
    ) as client:
        for i in range(250):
            client.write(f"p,host=v3\\ {is_batched} f={i + 0.25} {to_ns(START + i * SECOND)}")
    assert read_back(viewer, name) == expected(name, "p.f", 250)


def test_the_client_of_version_3_reads_our_refusals(house):
    options = write_client_options(write_options=WriteOptions3(write_type=SYNCHRONOUS.write_type))
    with (
        InfluxDBClient3(host=house.url, token=house.key, database="default", write_client_options=options) as client,
        pytest.raises(InfluxDBError) as refused,
    ):
        client.write("p,host=v3bad f=x")
    assert "line 1" in str(refused.value)


# --- Telegraf


def send_as_telegraf(house, body, *, output):
    """Send one batch as the named output plugin of Telegraf does."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "Telegraf/1.36.0 Go/1.25.0"}
    if output == "influxdb":
        created = httpx.post(
            f"{house.url}/query", data={"q": 'CREATE DATABASE "default"'}, auth=("any", house.key), trust_env=False
        )
        assert "error" not in created.json()["results"][0]
        address, auth = "/write?db=default&rp=autogen", ("any", house.key)
    else:
        address, auth = "/api/v2/write?bucket=default&org=plant", None
        headers["Authorization"] = f"Token {house.key}"
    encoding = {"influxdb": "gzip", "influxdb_v2": "gzip", "http": "zstd"}[output]
    encoded = gzip.compress(body) if encoding == "gzip" else zstd.compress(body)
    headers["Content-Encoding"] = encoding

    def chunks():
        yield encoded[:100]  # Telegraf streams: no Content-Length
        yield encoded[100:]

    return httpx.post(house.url + address, content=chunks(), headers=headers, auth=auth, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def telegraf_house(found):
    """A server with the mapping that docs/line-protocol.md recommends for Telegraf."""
    mapping = {"GAUGEHOUSE_LINE_COMPONENT_TAGS": "host", "GAUGEHOUSE_LINE_METRIC_TAGS": "cpu,path,name,interface"}
    installation = found(mapping).start()
    yield installation
    installation.stop()


@pytest.mark.parametrize("output", ["influxdb", "influxdb_v2", "http"])
def test_what_telegraf_sends_is_stored_whole(telegraf_house, output):
    host = f"telegraf-{output}"
    answer = send_as_telegraf(telegraf_house, telegraf_payload(host), output=output)
    assert (answer.status_code, answer.content) == (204, b"")
    viewer = telegraf_house.sign_in("vera")
    rows = {row[1]: row[3] for row in read_back(viewer, host)}
    assert {row[2] for row in read_back(viewer, host)} == {START}
    assert len(rows) == TELEGRAF.count("=") - TELEGRAF.count("host=") - 15 - 1  # 15 other tags, one string
    assert rows["cpu.usage_user.cpu0"] == 25.000000002273737
    assert rows["cpu.usage_idle.cpu-total"] == 78.125
    assert rows["mem.vmalloc_total"] == 35184372087808
    assert rows["disk.free./var/log old"] == 100
    assert rows["diskio.reads.dm-0"] == 1063077
    assert rows["net.tcp_maxconn.all"] == -1
    assert rows["system.uptime"] == 1249632
    events = viewer.get(f"/v1/components/{host}/events").json()["items"]
    assert [(event["kind"], event["body"]) for event in events] == [("system.uptime_format", "14 days, 11:07")]
    again = send_as_telegraf(telegraf_house, telegraf_payload(host), output=output)
    assert again.headers["x-gaugehouse-receipt"].startswith("accepted=0, ")
    assert "conflicts=0" in again.headers["x-gaugehouse-receipt"]


def test_one_bad_line_of_a_telegraf_batch_leaves_nothing(house, viewer):
    body = telegraf_payload("telegraf-bad") + b"docker,host=telegraf-bad limit=18446744073709551615u\n"
    answer = send_as_telegraf(house, body, output="influxdb_v2")
    assert (answer.status_code, answer.json()["line"]) == (400, body.count(b"\n"))
    assert "2^53" in answer.json()["message"]
    assert viewer.get("/v1/components/telegraf-bad").status_code == 404


# --- bombs


def test_bombs_are_refused_at_once_and_take_no_memory(house):
    process = psutil.Process(house.pid)
    bombs = {"gzip": gzip.compress(bytes(1000 * MEBIBYTE)), "zstd": zstd.compress(bytes(1000 * MEBIBYTE))}
    before_bytes = process.memory_info().rss

    def send(encoding):
        started_s = time.monotonic()
        headers = {"Authorization": f"Token {house.key}", "Content-Encoding": encoding}
        answer = httpx.post(
            f"{house.url}/api/v2/write?bucket=default",
            content=bombs[encoding],
            headers=headers,
            timeout=60,
            trust_env=False,
        )
        return answer.status_code, time.monotonic() - started_s

    with ThreadPoolExecutor(8) as pool:
        peak_bytes = before_bytes
        answers = [pool.submit(send, encoding) for encoding in ["gzip", "zstd"] * 8]
        while not all(answer.done() for answer in answers):
            peak_bytes = max(peak_bytes, process.memory_info().rss)
            time.sleep(0.005)
    assert {answer.result()[0] for answer in answers} <= {413, 503}
    assert max(answer.result()[1] for answer in answers) < 20
    assert peak_bytes - before_bytes < 400 * MEBIBYTE  # a single one, decoded, would take 1000
    wait_until(lambda: house.device().get("/health").status_code == 200, what="an answer afterwards")
