"""HTTPS without a proxy, from outside: which versions, which headers, a renewal, and the commands beside it."""

import os
import signal
import socket
import ssl

import httpx
import pytest
import trustme

from functional.installation import wait_until

NAME = "127.0.0.1"
AUTHORITY = trustme.CA()


def write_pair(folder):
    issued = AUTHORITY.issue_cert(NAME)
    key = folder / "key.pem"
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.touch(mode=0o600)
    key.write_bytes(issued.private_key_pem.bytes())
    return {"GAUGEHOUSE_TLS_CERT": str(folder / "cert.pem"), "GAUGEHOUSE_TLS_KEY": str(key)}


def trusting(**more):
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    for name, value in more.items():
        setattr(context, name, value)
    return context


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificate")


@pytest.fixture(scope="module")
def secured(found, folder):
    installation = found(write_pair(folder))
    installation.launch()
    installation.url = wait_until(installation._find_url, timeout_s=120, what="the address")
    wait_until(lambda: is_up(installation), timeout_s=120, what="the health")
    yield installation
    installation.stop()


def is_up(installation):
    try:
        return httpx.get(f"{installation.url}/health", verify=trusting(), trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def address_of(installation):
    url = httpx.URL(installation.url)
    return url.host, url.port


def served_serial(installation):
    with (
        socket.create_connection(address_of(installation), timeout=10) as plain,
        trusting().wrap_socket(plain, server_hostname=NAME) as secure,
    ):
        return secure.getpeercert()["serialNumber"]


def test_answers_come_over_tls_and_tell_browsers_to_stay_there(secured):
    assert secured.url.startswith("https://")
    answer = httpx.get(f"{secured.url}/health", verify=trusting(), trust_env=False)
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"


def test_plain_http_gets_no_answer(secured):
    host, port = address_of(secured)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{host}:{port}/health", trust_env=False)


def test_tls_1_1_is_refused_and_1_2_is_spoken(secured):
    old = trusting(minimum_version=ssl.TLSVersion.TLSv1_2, maximum_version=ssl.TLSVersion.TLSv1_2)
    assert httpx.get(f"{secured.url}/health", verify=old, trust_env=False).status_code == 200
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        older = trusting(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    older.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{secured.url}/health", verify=older, trust_env=False)


def test_a_command_speaks_to_the_server_by_the_certificate_that_it_announced(secured):
    assert "rows" in secured.run_well("demo", "--components", "1", "--days", "1")


def test_a_renewed_certificate_is_served_after_a_hangup_signal(secured, folder):
    before = served_serial(secured)
    write_pair(folder)
    assert served_serial(secured) == before
    os.kill(secured.pid, signal.SIGHUP)
    wait_until(lambda: served_serial(secured) != before, timeout_s=20, what="the new certificate")
