"""Reports to programs: one signed POST, to the address that was checked and to no other.

The host is resolved once, every address it has is judged, and the connection goes to one that passed: what the name
means a moment later cannot matter (DNS rebinding). Nothing is followed anywhere: a redirect is a refusal.

`http.client` instead of httpx: it connects where it is told to, knows no proxies and follows nothing.
"""

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from gaugehouse import __version__
from gaugehouse.reports.destinations import Network, WebhookDestination, check_url, hide_path
from gaugehouse.reports.parcel import DELIVERED, Outcome, Parcel, ReportFile, give_up, safe_name, try_later

CONNECT_TIMEOUT_S = 10.0
TOTAL_TIMEOUT_S = 60.0  # of the whole exchange: one that trickles bytes would hold a worker for days
ADDRESSES_TRIED = 4
SIGNATURE_HEADER = "Gaugehouse-Signature"
DELIVERY_HEADER = "Gaugehouse-Delivery"
GONE = 410

# IPv4 inside of IPv6, in the last 32 bits: translators reach the inner address (RFC 6052); `::a.b.c.d` (RFC 4291).
CARRIERS = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))

# Of no host of the internet either, and unknown to the address tables of older Pythons (IANA, special purpose).
SPECIAL = (IPv4Network("192.0.0.0/24"), IPv6Network("3fff::/20"), IPv6Network("5f00::/16"))

Resolve = Callable[[str, int], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a connection may go: a family and a socket address."""

    family: int
    place: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSender:
    """How webhooks leave this installation.

    Args:
        private_networks: Networks of the inside that may be reached.
        resolve: (host, port) -> what `socket.getaddrinfo` returns; tests hand in their own.
        total_timeout_s: Of one exchange. [s]
    """

    private_networks: tuple[Network, ...] = ()
    resolve: Resolve = field(default=lambda host, port: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    total_timeout_s: float = TOTAL_TIMEOUT_S


def sign(secret: str, body: bytes, *, timestamp_s: int) -> str:
    """Return the signature header of a body: HMAC-SHA256 over `<timestamp>.<body>`.

    >>> sign("a secret of sixteen", b"{}", timestamp_s=1_795_000_000)[:15]
    't=1795000000,v1'
    """
    digest = hmac.new(secret.encode(), f"{timestamp_s}.".encode() + body, hashlib.sha256)
    return f"t={timestamp_s},v1={digest.hexdigest()}"


def write_body(parcel: Parcel, *, attach: bool) -> bytes:
    """Return the JSON that a webhook gets; the same parcel gives the same bytes. Pure."""
    subject = parcel.subject
    body = {
        "event": "report.done" if subject.failure is None else "report.failed",
        "delivery": parcel.delivery_id,
        "project": subject.project,
        "template": subject.template,
        "title": subject.title,
        "report": {
            "id": parcel.report_id,
            "revision": parcel.revision,
            "period_start": subject.period_start.isoformat(),
            "period_end": subject.period_end.isoformat(),
            "timezone": subject.timezone,
            "as_of": None if subject.as_of is None else subject.as_of.isoformat(),
            "digest": subject.digest,
            "link": parcel.link,
        },
        "files": [_describe_file(file) for file in parcel.files] if attach else [],
        "files_left_out": parcel.left_out,
    }
    if subject.failure is not None:
        body["reason"] = subject.failure
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _describe_file(file: ReportFile) -> dict[str, Any]:
    content = file.read()
    return {
        "name": safe_name(file.name),
        "media_type": file.media_type,
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "content_base64": b64encode(content).decode("ascii"),
    }


def is_inside(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    """Return whether an address, or the IPv4 address inside of it, lies in one of the networks. Pure."""
    inner = _find_inner(address)
    return any(address in network for network in networks if network.version == address.version) or (
        inner is not None and is_inside(inner, networks)
    )


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is one of the internet, and of no network of ours or of this machine. Pure."""
    inner = _find_inner(address)
    if inner is not None:  # whatever the outer address is called, the packet ends at the inner one
        return is_public(inner)
    is_special = address.is_multicast or address.is_reserved or address.is_unspecified
    is_special = is_special or any(address in network for network in SPECIAL if network.version == address.version)
    is_site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not is_special and not is_site_local


def _find_inner(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    is_carrier = any(address in network for network in CARRIERS)
    return IPv4Address(int(address) & 0xFFFFFFFF) if is_carrier else None


def resolve_host(
    host: str, port: int, sender: WebhookSender, *, is_encrypted: bool
) -> tuple[list[Address], Outcome | None]:
    """Return where a connection to a host may go, or why nowhere.

    Unencrypted, only allowed private networks do: a report crosses no public network in the clear.
    """
    try:
        found = sender.resolve(host, port)
    except (OSError, UnicodeError):
        return [], try_later("the name of the receiver cannot be resolved")
    allowed = []
    for family, _type, _protocol, _name, place in found:
        address = ip_address(place[0].partition("%")[0])
        if is_inside(address, sender.private_networks) or (is_encrypted and is_public(address)):
            allowed.append(Address(family=family, place=place))
    if allowed:
        return allowed, None
    if not is_encrypted:
        return [], give_up("http is only for private networks that this server's settings allow; use https")
    return [], give_up(
        "the receiver's address lies in a private network that this server's settings do not allow "
        "(GAUGEHOUSE_WEBHOOK_PRIVATE_NETWORKS)"
    )


def send_webhook(
    parcel: Parcel,
    destination: WebhookDestination,
    secret: str,
    sender: WebhookSender,
    *,
    now_s: int,
    on_cut: Callable[[Callable[[], None]], None] = lambda _cut: None,
) -> Outcome:
    """Post a report to a program.

    Args:
        parcel: What to send.
        destination: Where.
        secret: Signs it.
        sender: How.
        now_s: The signature's timestamp. [s since 1970]
        on_cut: Is handed what breaks the exchange off, for a worker that must stop.

    Returns:
        Delivered on 2xx; never on a redirect, on 410, or where the address is not allowed; else to be tried later.
    """
    parts = check_url("url", destination.url)
    is_encrypted = parts.scheme == "https"
    port = parts.port or (443 if is_encrypted else 80)
    addresses, refusal = resolve_host(parts.hostname or "", port, sender, is_encrypted=is_encrypted)
    if refusal is not None:
        return refusal
    body = write_body(parcel, attach=destination.attach)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"Gaugehouse/{__version__}",
        DELIVERY_HEADER: parcel.delivery_id,
        SIGNATURE_HEADER: sign(secret, body, timestamp_s=now_s),
    }
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = _Pinned(parts.hostname or "", port, addresses[:ADDRESSES_TRIED], is_encrypted=is_encrypted)
    on_cut(connection.cut)
    timer = threading.Timer(sender.total_timeout_s, connection.cut)
    timer.daemon = True
    timer.start()
    try:
        connection.request("POST", target, body, headers)
        with connection.getresponse() as response:  # what else it says is nobody's business: not even read
            status = response.status
    except (OSError, http.client.HTTPException) as exc:
        return _explain(exc, connection, destination)
    finally:
        timer.cancel()
        connection.close()
    return _judge(status)


def _judge(status: int) -> Outcome:
    if http.client.OK <= status < http.client.MULTIPLE_CHOICES:
        return DELIVERED
    if http.client.MULTIPLE_CHOICES <= status < http.client.BAD_REQUEST:
        return give_up(f"the receiver answered {status}: redirects are not followed; give the final address")
    if status == GONE:
        return give_up("the receiver answered 410: it does not want this any more")
    return try_later(f"the receiver answered {status}")


def _explain(
    error: OSError | http.client.HTTPException, connection: "_Pinned", destination: WebhookDestination
) -> Outcome:
    shown = hide_path(destination.url)
    if connection.is_cut:
        return try_later(f"{shown} took too long to answer")
    if isinstance(error, ssl.SSLError):
        return try_later(f"{shown} cannot be trusted: {error.reason or 'TLS failed'}")
    if isinstance(error, OSError):
        return try_later(f"{shown} cannot be reached: {error.strerror or type(error).__name__}")
    return try_later(f"{shown} answered something that is not HTTP")


class _Pinned(http.client.HTTPConnection):
    """A connection to addresses that were checked, under the host's name, that another thread can cut."""

    def __init__(self, host: str, port: int, addresses: Sequence[Address], *, is_encrypted: bool) -> None:
        super().__init__(host, port, timeout=CONNECT_TIMEOUT_S)
        self._addresses = addresses
        self.default_port = 443 if is_encrypted else 80
        self._context = ssl.create_default_context() if is_encrypted else None
        self._guard: socket.socket | None = None
        self._lock = threading.Lock()
        self.is_cut = False

    def connect(self) -> None:
        """Connect to the first address that answers; with TLS, to the host's certificate."""
        raw = self._connect_to_any()
        with self._lock:
            if self.is_cut:
                raw.close()
                raise TimeoutError
            self._guard = raw.dup()  # the same connection: what is shut down here ends there, inside of TLS or not
        self.sock = raw
        if self._context is not None:
            self.sock = self._context.wrap_socket(raw, server_hostname=self.host)

    def _connect_to_any(self) -> socket.socket:
        error: OSError = OSError("no address")
        for address in self._addresses:
            raw = socket.socket(address.family, socket.SOCK_STREAM)
            raw.settimeout(CONNECT_TIMEOUT_S)
            try:
                raw.connect(address.place)
            except OSError as exc:
                raw.close()
                error = exc
            else:
                return raw
        raise error

    def cut(self) -> None:
        """Break the exchange off, from any thread."""
        with self._lock:
            self.is_cut = True
            if self._guard is not None:
                with suppress(OSError):
                    self._guard.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close everything; `cut` does nothing from here on."""
        super().close()
        with self._lock:
            if self._guard is not None:
                self._guard.close()
                self._guard = None
