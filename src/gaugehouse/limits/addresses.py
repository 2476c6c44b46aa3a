"""Whose address a request is: the connection's, or what our own proxies say was in front of them."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gaugehouse.errors import StartRefused

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]
UNKNOWN = "unknown"  # a socket without an address
IPV6_PREFIX = 64  # of one subscriber: whoever has one of its addresses has 2^64


def read_networks(text: str, *, setting: str) -> Networks:
    """Return networks written as `10.0.0.0/8,fd00::/8`; a single address is a network of one.

    Raises:
        StartRefused: One of them is none.
    """
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as exc:
        detail = f"{setting} must be networks such as 10.0.0.0/8,fd00::/8: {exc}"
        raise StartRefused(detail, code="setting_refused") from exc


def find_client_address(peer: str | None, forwarded: Iterable[str], trusted: Networks) -> str:
    """Return the address of whoever asks.

    Args:
        peer: Address of the connection, None for one without.
        forwarded: Values of X-Forwarded-For as they came; anybody can send them, so each entry is believed only as
            far as everybody behind it is one of ours.
        trusted: Networks of our own proxies.
    """
    found = None if peer is None else _read(peer)
    if found is None:
        return UNKNOWN
    if not trusted:
        return str(found)
    entries = [entry for value in forwarded for entry in value.split(",")]
    while entries and _is_in(found, trusted):
        further = _read(entries.pop())
        if further is None:  # our proxy was told nonsense; it is as far as we can see
            break
        found = further
    return str(found)


def group_address(address: str) -> str:
    """Return what counts as one sender: an IPv4 address, or the /64 network of an IPv6 address."""
    found = _read(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, IPV6_PREFIX), strict=False))
    return address


def _read(text: str) -> Address | None:
    """Return an address as proxies write it: with or without a port, IPv6 in brackets or not."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _is_in(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks)
