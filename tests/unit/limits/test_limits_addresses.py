"""Whom a request is from, with and without proxies in front."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugehouse.errors import StartRefused
from gaugehouse.limits import find_client_address, group_address, read_networks

PROXIES = read_networks("10.0.0.0/8, fd00::/8", setting="X")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["192.0.2.1"], "203.0.113.9"),  # a stranger may say what it likes
        ("10.0.0.2", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.2", ["6.6.6.6, 192.0.2.1"], "192.0.2.1"),  # what the client itself has put in front
        ("10.0.0.2", ["6.6.6.6", "192.0.2.1, 10.0.0.3"], "192.0.2.1"),
        ("10.0.0.2", ["192.0.2.1:4711"], "192.0.2.1"),
        ("10.0.0.2", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.2", ["nonsense"], "10.0.0.2"),
        ("10.0.0.2", ["192.0.2.1, nonsense"], "10.0.0.2"),
        ("10.0.0.2", [""], "10.0.0.2"),
        ("10.0.0.2", ["10.0.0.7"], "10.0.0.7"),  # all of ours: the first of them
        ("::ffff:10.0.0.2", ["192.0.2.1"], "192.0.2.1"),
        ("fd00::1", ["192.0.2.1"], "192.0.2.1"),
        ("fe80::1%eth0", [], "fe80::1"),
        (None, ["192.0.2.1"], "unknown"),
    ],
)
def test_the_client_is_the_first_that_is_not_one_of_our_proxies(peer, forwarded, address):
    assert find_client_address(peer, forwarded, PROXIES) == address


def test_without_proxies_nothing_forwarded_is_believed():
    assert find_client_address("10.0.0.2", ["192.0.2.1"], ()) == "10.0.0.2"


@given(st.lists(st.text(max_size=40), max_size=5))
def test_nobody_but_our_proxies_changes_the_address_by_what_it_sends(forwarded):
    assert find_client_address("203.0.113.9", forwarded, PROXIES) == "203.0.113.9"
    find_client_address("10.0.0.2", forwarded, PROXIES)  # and whatever it is, it is no crash


def test_one_subscriber_of_ipv6_counts_as_one():
    assert group_address("2001:db8::1") == group_address("2001:db8::ffff:2") == "2001:db8::/64"
    assert group_address("2001:db8:0:1::1") != group_address("2001:db8::1")
    assert group_address("192.0.2.1") == "192.0.2.1"
    assert group_address("unknown") == "unknown"


def test_a_network_that_is_none_is_named():
    with pytest.raises(StartRefused, match=r"GAUGEHOUSE_TRUSTED_PROXIES must be networks.*10\.0\.0\.300"):
        read_networks("10.0.0.300", setting="GAUGEHOUSE_TRUSTED_PROXIES")
