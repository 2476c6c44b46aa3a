"""Whose bucket a request is taken from, without a server."""

import pytest

from gaugehouse.access import Caller
from gaugehouse.config import Settings
from gaugehouse.errors import Throttled
from gaugehouse.web.pace import Paces


def request_from(address, method="GET"):
    return {
        "method": method,
        "path": "/v1/measurements",
        "client": ("10.0.0.1", 5000),
        "headers": [(b"x-forwarded-for", address.encode())],
        "state": {},
    }


def caller(key_id):
    return Caller(kind="key", name="probe", project="p", project_id="prj_1", scopes=frozenset(), id=key_id)


def is_refused(ask, *args):
    try:
        ask(*args)
    except Throttled:
        return True
    return False


@pytest.fixture
def paces():
    settings = Settings(writes_per_minute=1, refused_per_minute=1, trusted_proxies="10.0.0.0/8")
    return Paces(settings, is_write="/v1/measurements".__eq__, max_buckets=5)


def test_each_key_has_its_own_bucket_whatever_its_name(paces):
    asked = [caller("key_1"), caller("key_2"), caller("key_1")]
    refused = [is_refused(paces.admit, request_from("192.0.2.1", "POST"), one) for one in asked]
    assert refused == [False, False, True]


def test_strangers_of_many_networks_push_no_caller_out_of_its_bucket(paces):
    device = caller("key_1")
    assert not is_refused(paces.admit, request_from("192.0.2.1", "POST"), device)
    for network in range(20):
        assert not is_refused(paces.refuse_stranger, request_from(f"2001:db8:0:{network:x}::1"))
    assert is_refused(paces.admit, request_from("192.0.2.1", "POST"), device)


def test_a_network_of_ipv6_is_one_stranger(paces):
    addresses = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1", "2001:db8:0:1::3, 2001:db8:0:2::9"]
    refused = [is_refused(paces.refuse_stranger, request_from(address)) for address in addresses]
    assert refused == [False, True, False, True]
