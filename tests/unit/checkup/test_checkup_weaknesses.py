"""Each weak set-up is found by its code and its severity, and a sound one by neither."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gaugehouse.checkup import Circumstances, DemoAccount, KeyFacts, Severity, find_weaknesses
from gaugehouse.config import Settings

NOW = datetime(2026, 11, 20, tzinfo=UTC)
PAGE = Path(__file__).parents[3] / "docs" / "security.md"
PUBLIC = {"host": "0.0.0.0", "allowed_hosts": "data.plant.example"}  # noqa: S104 - nothing listens
POSTGRES = "postgresql://gaugehouse:secret@db.example/gaugehouse"


def days(count):
    return timedelta(days=count)


def key(name="press-1", **changes):
    used = {"created_at": NOW - days(200), "expires_at": NOW + days(30), "last_used_at": NOW - days(1)}
    return KeyFacts(name=name, project="default", **({"writes_all": False} | used | changes))


def sound(settings=None, **changes):
    return Circumstances(settings=Settings(**(settings or {})), now=NOW, **changes)


SOUND = {
    "as it comes": sound(),
    "demo on this machine": sound({"demo": True}),
    "public behind a proxy": sound(PUBLIC | {"trusted_proxies": "10.0.0.2", "public_url": "https://plant.example"}),
    "public with a certificate": sound(PUBLIC | {"tls_cert": Path("c"), "tls_key": Path("k")}),
    "keys that end and are used": sound(keys=(key(),)),
    "a key that writes everywhere and ends": sound(keys=(key(writes_all=True),)),
    "demo users of a demo": sound({"demo": True}, demo_accounts=(DemoAccount(name="user", is_demo=True),)),
    "a new key that nobody used yet": sound(keys=(key(created_at=NOW - days(1), last_used_at=None),)),
    "backed up": sound(has_rows=True, backed_up_at=NOW - days(1)),
    "database here": sound({"database_url": "postgresql://gaugehouse@127.0.0.1/gaugehouse"}),
    "database by socket": sound({"database_url": "postgresql:///gaugehouse?host=/run/postgresql"}),
    "database verified": sound({"database_url": f"{POSTGRES}?sslmode=verify-full"}),
    "a clock that is kept": sound(is_clock_kept=True, database_ahead_s=0.5),
}
C, W, N = Severity.CRITICAL, Severity.WARNING, Severity.NOTICE
WEAK = [
    ("demo_public", C, sound({"demo": True, "allowed_hosts": "plant.example"})),
    ("demo_public", C, sound({"demo": True, "public_url": "https://p.example", "allowed_hosts": "localhost"})),
    ("no_tls", C, sound(PUBLIC)),
    ("no_tls", C, sound(PUBLIC | {"host": "plant.example"})),
    ("public_url_plain", W, sound({"public_url": "http://plant.example", "allowed_hosts": "plant.example"})),
    ("any_host", N, sound({"public_url": "https://plant.example"})),
    ("cors_any", C, sound({"cors_origins": "*"})),
    ("cors_plain", W, sound({"cors_origins": "http://plant.example"})),
    ("proxies_too_wide", C, sound({"trusted_proxies": "0.0.0.0/0"})),
    ("proxies_too_wide", C, sound({"trusted_proxies": "10.0.0.1,::/0"})),
    ("proxies_unreadable", C, sound({"trusted_proxies": "proxy.example"})),
    ("token_long", W, sound({"token_lifetime_s": 7200})),
    ("session_long", W, sound({"session_idle_s": 30 * 86_400})),
    ("session_long", W, sound({"session_lifetime_s": 365 * 86_400})),
    ("secrets_readable", C, sound(readable=("secrets",))),
    ("tls_key_readable", C, sound(readable=("tls_key",))),
    ("data_readable", W, sound(readable=("database", "lake"))),
    ("data_readable", N, sound(readable=("lake",))),
    ("runs_as_root", W, sound(is_root=True)),
    ("keys_endless", N, sound(keys=(key(expires_at=None),))),
    ("keys_unused", W, sound(keys=(key(last_used_at=NOW - days(91)),))),
    ("keys_unused", W, sound(keys=(key(last_used_at=None),))),
    ("keys_writing_endless", W, sound(keys=(key(expires_at=None, writes_all=True),))),
    ("keys_old", N, sound(keys=(key(created_at=NOW - days(366)),))),
    ("demo_users_left", W, sound(demo_accounts=(DemoAccount(name="manager", is_demo=True),))),
    ("demo_password", C, sound(demo_accounts=(DemoAccount(name="manager", is_demo=False),))),
    ("signing_key_old", W, sound(signing_since=NOW - days(366))),
    ("no_admin", N, sound(has_admin=False)),
    ("clock_not_kept", W, sound(is_clock_kept=False)),
    ("clocks_differ", W, sound(database_ahead_s=-3.0)),
    ("disk_full", C, sound(free_bytes=2**20)),
    ("disk_scarce", W, sound(free_bytes=2**35, size_bytes=2**40)),
    ("backup_missing", W, sound(has_rows=True)),
    ("backup_missing", W, sound(has_rows=True, backed_up_at=NOW - days(8))),
    ("database_plain", C, sound({"database_url": POSTGRES})),
    ("database_plain", C, sound({"database_url": f"{POSTGRES}?sslmode=prefer"})),
    ("database_unverified", W, sound({"database_url": f"{POSTGRES}?sslmode=require"})),
    ("webhooks_reach_inside", W, sound({"webhook_private_networks": "169.254.169.254/32"})),
    ("webhooks_reach_inside", W, sound({"webhook_private_networks": "0.0.0.0/0"})),
    ("webhooks_reach_private", N, sound({"webhook_private_networks": "10.1.2.3/32,fd00::/8"})),
    ("networks_unreadable", C, sound({"webhook_private_networks": "inside"})),
    ("mail_plain", W, sound({"smtp_host": "mail.example", "smtp_security": "none"})),
    ("metrics_open", W, sound({"metrics_port": 9100, "metrics_host": "0.0.0.0"})),  # noqa: S104
    ("secret_in_address", W, sound({"legacy_url_secret": True})),
    ("strangers_unlimited", N, sound({"refused_per_minute": 0})),
    ("log_debug", N, sound({"log_level": "debug"})),
]


@pytest.mark.parametrize("of", SOUND.values(), ids=SOUND)
def test_a_sound_set_up_has_no_findings(of):
    assert find_weaknesses(of) == []


@pytest.mark.parametrize(("code", "severity", "of"), WEAK)
def test_a_weak_set_up_is_found_and_nothing_else(code, severity, of):
    assert [(one.code, one.severity) for one in find_weaknesses(of)] == [(code, severity)]


def test_the_worst_comes_first_and_every_finding_says_what_why_and_how_to_mend_it():
    found = find_weaknesses(sound(PUBLIC | {"log_level": "DEBUG", "token_lifetime_s": 7200}, readable=("secrets",)))
    assert [one.severity for one in found] == [C, C, W, N]
    for one in found:
        assert all(len(text) > 3 for text in (one.what, one.why, one.mend))


def test_of_many_keys_the_first_are_named_and_the_rest_counted():
    of = sound(keys=tuple(key(f"press-{number}", expires_at=None) for number in range(8)))
    (found,) = find_weaknesses(of)
    assert found.what == (
        "8 API keys have no end: press-0 (default), press-1 (default), press-2 (default), press-3 (default),"
        " press-4 (default) and 3 more"
    )


def test_no_password_is_told():
    of = replace(sound(), settings=Settings(database_url=POSTGRES, smtp_password="hidden", smtp_host="h"))
    assert "secret" not in str(find_weaknesses(of))


def test_the_page_explains_every_finding():
    page = PAGE.read_text("utf-8")
    assert {code for code, _, _ in WEAK if f"`{code}`" not in page} == set()
