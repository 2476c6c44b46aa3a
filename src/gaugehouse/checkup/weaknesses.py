"""Weak set-ups, each with what is so, why it matters and how to mend it. Pure."""

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from gaugehouse.checkup.circumstances import Circumstances, KeyFacts

LONG_TOKEN_S = 3_600  # a stolen access token counts as long as it lives, unless its session ends
LONG_IDLE_S, LONG_SESSION_S = 7 * 86_400, 90 * 86_400
OLD_SIGNING_KEY = timedelta(days=365)
UNUSED_KEY = timedelta(days=90)
OLD_KEY = timedelta(days=365)  # so long a secret that never changes has been in files, backups and memories
OLD_BACKUP = timedelta(days=7)
WRONG_CLOCK_S = 2.0
SCARCE_SHARE = 0.1
NAMED = 5  # of many keys
WIDEST_PROXY_PREFIX = {4: 8, 6: 16}
ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})
VERIFIED = frozenset({"verify-ca", "verify-full"})
METADATA_ADDRESSES = tuple(ipaddress.ip_network(text) for text in ("169.254.0.0/16", "127.0.0.0/8", "::1/128"))


class Severity(StrEnum):
    """How bad it is: `critical` lets people in, `warning` helps them or loses data, `notice` is worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One weakness.

    Args:
        code: Stable name.
        severity: How bad.
        what: What is so.
        why: What can come of it.
        mend: What to do.
    """

    code: str
    severity: Severity
    what: str
    why: str
    mend: str


Check = Callable[[Circumstances], Iterator[Finding]]


def _critical(code: str, what: str, why: str, mend: str) -> Finding:
    return Finding(code=code, severity=Severity.CRITICAL, what=what, why=why, mend=mend)


def _warning(code: str, what: str, why: str, mend: str) -> Finding:
    return Finding(code=code, severity=Severity.WARNING, what=what, why=why, mend=mend)


def _notice(code: str, what: str, why: str, mend: str) -> Finding:
    return Finding(code=code, severity=Severity.NOTICE, what=what, why=why, mend=mend)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address; a name that is none of ours may lead anywhere."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _public_host(of: Circumstances) -> str | None:
    """Return the host that others are told to come to, when it is not this machine alone."""
    host = urlsplit(of.settings.public_url or "").hostname
    return None if host is None or is_loopback(host) else host


def _demo(of: Circumstances) -> Iterator[Finding]:
    others = [name for name in _split(of.settings.allowed_hosts) if not is_loopback(name)]
    if of.settings.demo and (not is_loopback(of.settings.host) or others or _public_host(of)):
        yield _critical(
            "demo_public",
            "demo mode is on where others can come",
            "everybody knows the passwords of its users, and its docs are open",
            "serve without --demo and GAUGEHOUSE_DEMO; make users with `gaugehouse user create`",
        )
    real = [user.name for user in of.demo_accounts if not user.is_demo]
    if real:
        yield _critical(
            "demo_password",
            f"the password of {', '.join(real)} is that of a demo user",
            "everybody knows it, and it counts outside demo mode too",
            "gaugehouse user password NAME, and gaugehouse user revoke NAME",
        )
    left = [user.name for user in of.demo_accounts if user.is_demo]
    if left and not of.settings.demo:
        yield _warning(
            "demo_users_left",
            f"this is no demo, and has demo users still: {', '.join(left)}",
            "they are refused now, and let in by passwords that everybody knows as soon as somebody serves with --demo",
            "gaugehouse user disable NAME, each; or say GAUGEHOUSE_DEMO=true here if it is a demo",
        )


def _transport(of: Circumstances) -> Iterator[Finding]:
    settings = of.settings
    if settings.tls_cert is not None:
        return
    if not is_loopback(settings.host) and not settings.trusted_proxies:
        yield _critical(
            "no_tls",
            f"the server listens on {settings.host} without HTTPS, and no proxy is named that has it",
            "whoever is on the way reads passwords, tokens and keys; browsers keep no cookie, so pages let nobody in",
            "set GAUGEHOUSE_TLS_CERT and GAUGEHOUSE_TLS_KEY, or listen on 127.0.0.1 behind a proxy with HTTPS and name"
            " it in GAUGEHOUSE_TRUSTED_PROXIES",
        )
    if (settings.public_url or "").startswith("http://") and _public_host(of):
        yield _warning(
            "public_url_plain",
            "the address in messages (GAUGEHOUSE_PUBLIC_URL) begins with http://",
            "links to set a password are opened without encryption",
            "let it begin with https://",
        )


def _names(of: Circumstances) -> Iterator[Finding]:
    if not of.settings.allowed_hosts and (not is_loopback(of.settings.host) or _public_host(of)):
        yield _notice(
            "any_host",
            "requests for any name are answered (GAUGEHOUSE_ALLOWED_HOSTS is empty)",
            "a page elsewhere can let its own name lead here and speak to the server through the browser of a visitor",
            "set GAUGEHOUSE_ALLOWED_HOSTS to the names that people use",
        )
    origins = _split(of.settings.cors_origins)
    if "*" in origins:
        yield _critical(
            "cors_any",
            "scripts of all sites may call (GAUGEHOUSE_CORS_ORIGINS is *)",
            "any page that a user visits can use what keys or tokens it gets hold of; `serve` refuses to start so",
            "name the origins that need it, such as https://plant.example",
        )
    plain = [origin for origin in origins if origin.startswith("http://") and not is_loopback(_host_of(origin))]
    if plain:
        yield _warning(
            "cors_plain",
            f"scripts of {plain[0]} may call, which comes without encryption",
            "whoever is on the way to that site can put their own script into it",
            "name it with https://",
        )


def _host_of(origin: str) -> str:
    return urlsplit(origin).hostname or ""


def _proxies(of: Circumstances) -> Iterator[Finding]:
    for text in _split(of.settings.trusted_proxies):
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            yield _critical(
                "proxies_unreadable", f"{text!r} is no network", "`serve` refuses to start so", "correct it"
            )
            continue
        if network.prefixlen < WIDEST_PROXY_PREFIX[network.version]:
            yield _critical(
                "proxies_too_wide",
                f"GAUGEHOUSE_TRUSTED_PROXIES believes all of {network}",
                "anybody in there can name any address as their own: limits on wrong passwords and the audit log's"
                " addresses are worth nothing",
                "name the addresses of your proxies only",
            )


def _lifetimes(of: Circumstances) -> Iterator[Finding]:
    settings = of.settings
    if settings.token_lifetime_s > LONG_TOKEN_S:
        yield _warning(
            "token_long",
            f"access tokens live {_span(settings.token_lifetime_s)}",
            "other services that verify tokens by our public keys take a stolen one as long as that",
            "unset GAUGEHOUSE_TOKEN_LIFETIME_S (15 minutes); clients refresh",
        )
    if settings.session_idle_s > LONG_IDLE_S or settings.session_lifetime_s > LONG_SESSION_S:
        yield _warning(
            "session_long",
            f"sessions last {_span(settings.session_lifetime_s)}, {_span(settings.session_idle_s)} without being used",
            "a lost laptop stays signed in as long as that",
            "lower GAUGEHOUSE_SESSION_IDLE_S (12 hours) and GAUGEHOUSE_SESSION_LIFETIME_S (30 days)",
        )


def _span(seconds: float) -> str:
    for unit, size_s in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def _files(of: Circumstances) -> Iterator[Finding]:
    if "secrets" in of.readable:
        yield _critical(
            "secrets_readable",
            "other users of this machine can read the folder `secrets`",
            "with the signing secret and a copy of the database they make themselves anybody's token",
            "chmod -R go-rwx DATA/secrets; if somebody may have looked: gaugehouse key rotate --at-once",
        )
    if "tls_key" in of.readable:
        yield _critical(
            "tls_key_readable",
            "other users of this machine can read the key of the certificate",
            "they can pass for this server; `serve` refuses to start so",
            "chmod 0600 the file; replace the certificate if somebody may have looked",
        )
    others = [name for name in of.readable if name not in {"secrets", "tls_key"}]
    if others:
        tell = _warning if "database" in others else _notice
        yield tell(
            "data_readable",
            f"other users of this machine can read: {', '.join(others)}",
            "rows of all projects are in the files, logs say who did what, and the database has addresses of people and"
            " hashes of their passwords",
            "chmod o-rwx DATA; give a group the folder `lake` if people read files there",
        )
    if of.is_root:
        yield _warning(
            "runs_as_root",
            "this runs as root",
            "whoever finds a hole in the server owns the machine",
            "run it as a user of its own; deploy/ has a service for systemd and an image that do",
        )


def _keys(of: Circumstances) -> Iterator[Finding]:
    everywhere = [key for key in of.keys if key.expires_at is None and key.writes_all]
    if everywhere:
        yield _warning(
            "keys_writing_endless",
            f"{_counted(everywhere)} no end and may write for every component of a project: {_named(everywhere)}",
            "one that leaked forges the rows of all machines until somebody notices",
            "give each device a key of its own (--component), programs one with --expires-days",
        )
    endless = [key for key in of.keys if key.expires_at is None and not key.writes_all]
    if endless:
        yield _notice(
            "keys_endless",
            f"{_counted(endless)} no end: {_named(endless)}",
            "a key that leaked counts until somebody notices",
            "make keys with --expires-days and replace them (`gaugehouse key replace`) before they end",
        )
    unused = [key for key in of.keys if of.now - (key.last_used_at or key.created_at) > UNUSED_KEY]
    if unused:
        yield _warning(
            "keys_unused",
            f"{_counted(unused)} not been used for {UNUSED_KEY.days} days: {_named(unused)}",
            "nobody would notice if somebody else began to use them",
            "end them: gaugehouse key revoke ID (`gaugehouse key list` has the ids)",
        )
    old = [key for key in of.keys if of.now - key.created_at > OLD_KEY and key not in unused]
    if old:
        yield _notice(
            "keys_old",
            f"{_counted(old)} been the same for over {OLD_KEY.days} days: {_named(old)}",
            "in that time a secret gets into files, backups and memories that nobody looks after",
            "gaugehouse key replace ID: both count for a while",
        )


def _counted(keys: Sequence[KeyFacts]) -> str:
    return "1 API key has" if len(keys) == 1 else f"{len(keys):,} API keys have"


def _named(keys: Iterable[KeyFacts]) -> str:
    names = [f"{key.name} ({key.project})" for key in keys]
    rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest


def _signing(of: Circumstances) -> Iterator[Finding]:
    if of.signing_since is not None and of.now - of.signing_since > OLD_SIGNING_KEY:
        yield _warning(
            "signing_key_old",
            f"the key that signs tokens is {(of.now - of.signing_since).days:,} days old",
            "the longer it is used, the more copies of it lie about in memory dumps and old machines",
            "gaugehouse key rotate (no token is lost)",
        )


def _people(of: Circumstances) -> Iterator[Finding]:
    if not of.has_admin and not of.settings.demo:
        yield _notice(
            "no_admin",
            "nobody who can sign in is an admin",
            "keys and members are made on this machine only, and nobody else reads the audit log",
            "gaugehouse user create NAME --role admin",
        )


def _clock(of: Circumstances) -> Iterator[Finding]:
    mend = "let chrony, systemd-timesyncd or the host of this machine keep the time"
    if of.is_clock_kept is False:
        yield _warning(
            "clock_not_kept",
            "the kernel says that nothing keeps its clock right",
            "times of arrival, ends of keys and tokens, and reports of running periods are as wrong as the clock",
            mend,
        )
    if of.database_ahead_s is not None and abs(of.database_ahead_s) > WRONG_CLOCK_S:
        way = "ahead of" if of.database_ahead_s > 0 else "behind"
        yield _warning(
            "clocks_differ",
            f"the database's clock is {abs(of.database_ahead_s):,.1f} s {way} ours",
            "leases of jobs, sessions and the audit log go by the database's, rows and tokens by ours",
            mend,
        )


def _space(of: Circumstances) -> Iterator[Finding]:
    limit_bytes = of.settings.free_space_bytes
    if of.free_bytes < limit_bytes:
        yield _critical(
            "disk_full",
            f"{of.free_bytes // 2**20:,} MiB are free where the data is",
            f"deliveries get 507 below {limit_bytes // 2**20:,} MiB",
            "make room, or drop old months (`gaugehouse project set NAME --keep-measurements 400d`)",
        )
    elif of.free_bytes < SCARCE_SHARE * of.size_bytes:
        yield _warning(
            "disk_scarce",
            f"{of.free_bytes / of.size_bytes:.0%} of the disk of the data is free ({of.free_bytes // 2**20:,} MiB)",
            "merging files needs room for a second copy of them for a while",
            "make room, or drop old months (`gaugehouse project set NAME --keep-measurements 400d`)",
        )


def _backup(of: Circumstances) -> Iterator[Finding]:
    if not of.has_rows or (of.backed_up_at is not None and of.now - of.backed_up_at <= OLD_BACKUP):
        return
    last = "there is no backup" if of.backed_up_at is None else f"the newest backup is of {of.backed_up_at:%Y-%m-%d}"
    yield _warning(
        "backup_missing",
        f"{last} (of those made by `gaugehouse backup`)",
        "users, keys, reports and rows are gone with this disk; a copy of the files while the server runs is none",
        "gaugehouse backup /on/another/disk, every day by cron or a timer",
    )


def _database(of: Circumstances) -> Iterator[Finding]:
    try:
        url = make_url(of.settings.database_url or "sqlite://")
    except ArgumentError:
        return  # `serve` refuses it, with words of its own
    host = url.query.get("host", url.host)
    is_here = not isinstance(host, str) or host.startswith("/") or is_loopback(host)
    if not url.drivername.startswith("postgres") or is_here:
        return
    mode = url.query.get("sslmode")
    if mode not in ENCRYPTED:
        yield _critical(
            "database_plain",
            "the connection to PostgreSQL on another machine need not be encrypted",
            "its password, hashes of keys and all settings go over the network; the default takes plain text silently",
            "add ?sslmode=verify-full&sslrootcert=... to GAUGEHOUSE_DATABASE_URL",
        )
    elif mode not in VERIFIED:
        yield _warning(
            "database_unverified",
            "the connection to PostgreSQL is encrypted, but to whomever answers",
            "somebody on the way can pass for the database",
            "use sslmode=verify-full with sslrootcert in GAUGEHOUSE_DATABASE_URL",
        )


def _deliveries(of: Circumstances) -> Iterator[Finding]:
    settings = of.settings
    networks = []
    for text in _split(settings.webhook_private_networks):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            yield _critical(
                "networks_unreadable", f"{text!r} is no network", "`serve` refuses to start so", "correct it"
            )
    inner = [one for one in networks if any(_overlap(one, bad) for bad in METADATA_ADDRESSES)]
    if inner:
        yield _warning(
            "webhooks_reach_inside",
            f"webhooks may reach {inner[0]}",
            "managers choose their addresses: those of this machine itself, and of a cloud's metadata with its"
            " credentials, are among them",
            "leave it out of GAUGEHOUSE_WEBHOOK_PRIVATE_NETWORKS",
        )
    elif networks:
        yield _notice(
            "webhooks_reach_private",
            f"webhooks may reach {', '.join(map(str, networks))}",
            "managers choose their addresses, and learn by the outcome what answers there",
            "name the receivers' own addresses in GAUGEHOUSE_WEBHOOK_PRIVATE_NETWORKS, not whole networks",
        )
    if settings.smtp_host is not None and settings.smtp_security == "none" and not is_loopback(settings.smtp_host):
        yield _warning(
            "mail_plain",
            "reports and links go to the mail server without encryption",
            "whoever is on the way sets the passwords of those who forgot theirs",
            "unset GAUGEHOUSE_SMTP_SECURITY (starttls)",
        )


def _overlap(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network, other: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return one.version == other.version and one.overlaps(other)


def _exposure(of: Circumstances) -> Iterator[Finding]:
    settings = of.settings
    if settings.metrics_port is not None and not is_loopback(settings.metrics_host):
        yield _warning(
            "metrics_open",
            f"everybody who reaches {settings.metrics_host}:{settings.metrics_port} reads the metrics",
            "they tell how much is written, what fails, and when nobody looks",
            "listen on loopback, or use GAUGEHOUSE_METRICS_TOKEN and /metrics",
        )
    if settings.legacy_url_secret:
        yield _warning(
            "secret_in_address",
            "a device's key may stand in an address (GAUGEHOUSE_LEGACY_URL_SECRET)",
            "proxies and browsers write addresses down",
            "unset it as soon as no old device needs it",
        )
    if not settings.refused_per_minute:
        yield _notice(
            "strangers_unlimited",
            "requests without credentials are not limited (GAUGEHOUSE_REFUSED_PER_MINUTE is 0)",
            "guessing keys costs nothing but time, and logs fill",
            "unset it (6,000)",
        )
    if settings.log_level.upper() == "DEBUG":
        yield _notice(
            "log_debug", "the log tells every detail (DEBUG)", "it turns over sooner and tells more", "use INFO"
        )


CHECKS: tuple[Check, ...] = (
    _demo,
    _transport,
    _names,
    _proxies,
    _lifetimes,
    _files,
    _keys,
    _signing,
    _people,
    _clock,
    _space,
    _backup,
    _database,
    _deliveries,
    _exposure,
)


def find_weaknesses(of: Circumstances) -> list[Finding]:
    """Return what is weak, the worst first."""
    found = [finding for check in CHECKS for finding in check(of)]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))
