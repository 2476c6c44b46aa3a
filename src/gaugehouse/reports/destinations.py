"""Where the files of a report go: people by e-mail, programs by webhook, a folder. Pure: what can be checked on paper.

An address is checked again when something is sent to it: what a name resolves to, and what lies in a folder, changes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from gaugehouse.config import Settings
from gaugehouse.errors import Refused, StartRefused

DESTINATIONS_LIMIT = 20
ADDRESSES_LIMIT = 50  # of one e-mail destination; each person gets a message of their own
URL_CHARS = 1000
PATH_CHARS = 500
SUBJECT_CHARS = 200
TEXT_CHARS = 2000
# The one of HTML's `input type=email`: no comments, no quotes, nothing that a header could be broken with.
ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
ADDRESS_CHARS = 254
HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:.]{2,45}")
URL_TEXT = re.compile(r"[!-~]+")
FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 ._-]{0,99}")

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailDestination:
    """People. Each gets a message of their own.

    Args:
        to: Addresses.
        subject: `{title}`, `{period}`, `{project}` and `{revision}` are filled in.
        text: Stands before what the report says of itself; the same words are filled in.
        attach: Files are attached; else the message only says where they are.
    """

    to: tuple[str, ...]
    subject: str = "{title}: {period}"
    text: str = ""
    attach: bool = True
    kind: Literal["email"] = "email"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDestination:
    """A program, told by a signed POST.

    Args:
        url: https, or http to a private network that the server's settings allow.
        attach: Files are part of the body; else it only says where they are.
    """

    url: str
    attach: bool = True
    kind: Literal["webhook"] = "webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderDestination:
    """A folder on the server, below the one that its settings give and below the project's own.

    Args:
        path: Relative, with `/`; made where it is missing.
    """

    path: str
    kind: Literal["folder"] = "folder"


Destination = EmailDestination | WebhookDestination | FolderDestination
_KINDS: dict[str, type[EmailDestination | WebhookDestination | FolderDestination]] = {
    "email": EmailDestination,
    "webhook": WebhookDestination,
    "folder": FolderDestination,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What this installation can deliver to, by its settings.

    Args:
        has_mail: A mail server is set.
        has_folder: A delivery folder is set.
        private_networks: Networks of the inside that webhooks may reach.
    """

    has_mail: bool
    has_folder: bool
    private_networks: tuple[Network, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> "Reach":
        """Read what is set.

        Raises:
            StartRefused: A private network is none.
        """
        return cls(
            has_mail=settings.smtp_host is not None,
            has_folder=settings.delivery_dir is not None,
            private_networks=read_networks(settings.webhook_private_networks),
        )


def read_networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a comma-separated list such as `10.0.0.0/8, fd00::/8`.

    Raises:
        StartRefused: One of them is none.
    """
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as exc:
        raise StartRefused(
            f"GAUGEHOUSE_WEBHOOK_PRIVATE_NETWORKS must be networks such as 10.0.0.0/8, separated by commas: {exc}",
            code="settings_refused",
        ) from exc


def decode_destination(encoded: Mapping[str, Any]) -> Destination:
    """Return the destination that `dataclasses.asdict` wrote."""
    return msgspec.convert(dict(encoded), _KINDS[encoded["kind"]])


def check_destinations(destinations: Sequence[Destination], reach: Reach) -> None:
    """Refuse what can never be delivered to, naming the field.

    Raises:
        Refused: Too many, the same twice, an address that is none, or a way that is not set up.
    """
    if len(destinations) > DESTINATIONS_LIMIT:
        raise _refuse("destinations", f"are {len(destinations)}, at most {DESTINATIONS_LIMIT} are allowed")
    for number, destination in enumerate(destinations):
        field = f"destinations.{number}"
        match destination:
            case EmailDestination():
                _check_email(field, destination, reach)
            case WebhookDestination():
                check_url(f"{field}.url", destination.url)
            case FolderDestination():
                _check_folder(field, destination, reach)
    addresses = [address for destination in destinations for address in find_addresses(destination)]
    if len(set(addresses)) < len(addresses):
        raise _refuse("destinations", "name one address twice")


def find_addresses(destination: Destination) -> list[tuple[str, str]]:
    """Return (kind, address) of each delivery that a destination means."""
    match destination:
        case EmailDestination():
            return [(destination.kind, address) for address in destination.to]
        case WebhookDestination():
            return [(destination.kind, destination.url)]
        case FolderDestination():
            return [(destination.kind, destination.path)]


def _check_email(field: str, destination: EmailDestination, reach: Reach) -> None:
    if not reach.has_mail:
        raise _refuse(field, "is e-mail, but this server has no mail server set (GAUGEHOUSE_SMTP_HOST)")
    if not 1 <= len(destination.to) <= ADDRESSES_LIMIT:
        raise _refuse(f"{field}.to", f"has {len(destination.to)} addresses, 1 to {ADDRESSES_LIMIT} are allowed")
    for address in destination.to:
        if len(address) > ADDRESS_CHARS or not ADDRESS.fullmatch(address):
            raise _refuse(f"{field}.to", f"has {address[:ADDRESS_CHARS]!r}, which is no e-mail address")
    for name, text, limit in (("subject", destination.subject, SUBJECT_CHARS), ("text", destination.text, TEXT_CHARS)):
        if len(text) > limit:
            raise _refuse(f"{field}.{name}", f"has {len(text)} characters, at most {limit} are allowed")
    if any(not character.isprintable() for character in destination.subject):
        raise _refuse(f"{field}.subject", "holds a line break or another control character")


def check_url(field: str, url: str) -> SplitResult:
    """Return the parts of a webhook's URL.

    Raises:
        Refused: Not an http(s) URL of plain characters, or one that holds a user or password.
    """
    if len(url) > URL_CHARS or not URL_TEXT.fullmatch(url):
        raise _refuse(field, f"must be at most {URL_CHARS} printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise _refuse(field, "is no URL that can be read") from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname or not HOST.fullmatch(parts.hostname):
        raise _refuse(field, "must be an https URL with a host name, such as https://hooks.example.com/reports")
    if "@" in parts.netloc or parts.fragment:
        raise _refuse(field, "must hold no user, no password and no fragment")
    if port == 0:
        raise _refuse(field, "has a port that does not exist")
    return parts


def hide_path(url: str) -> str:
    """Return scheme, host and port of a URL: its path may be the secret of whoever gave it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _check_folder(field: str, destination: FolderDestination, reach: Reach) -> None:
    if not reach.has_folder:
        raise _refuse(field, "is a folder, but this server has no delivery folder set (GAUGEHOUSE_DELIVERY_DIR)")
    split_folder(destination.path, field=f"{field}.path")


def split_folder(path: str, *, field: str = "path") -> tuple[str, ...]:
    """Return the names that a relative folder is made of.

    Raises:
        Refused: Absolute, empty, with `..`, or names that some file system would not take.
    """
    names = tuple(path.split("/"))
    if len(path) > PATH_CHARS or not all(FOLDER_NAME.fullmatch(name) and name == name.rstrip(" .") for name in names):
        raise _refuse(
            field,
            f"{path[:PATH_CHARS]!r} must be relative, of letters, digits, spaces and ._- between single slashes, such "
            "as weekly/line-1",
        )
    return names


def _refuse(field: str, reason: str) -> Refused:
    return Refused(f"{field} {reason}", code="destination_refused", fields={"field": field})
