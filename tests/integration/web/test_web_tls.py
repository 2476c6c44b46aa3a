"""Certificates: which are taken, which are not, and what a renewal changes."""

import ssl

import pytest
import trustme

from gaugehouse.config import Settings
from gaugehouse.errors import StartRefused
from gaugehouse.web.tls import load_certificate

AUTHORITY = trustme.CA()


def write_pair(folder, *, name="localhost", cert=None):
    """Write a certificate and its key; return settings that name them."""
    issued = AUTHORITY.issue_cert(name)
    folder.mkdir(exist_ok=True)
    settings = Settings(data_dir=folder, tls_cert=folder / "cert.pem", tls_key=folder / "key.pem")
    settings.tls_cert.write_bytes(cert or b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    settings.tls_key.write_bytes(issued.private_key_pem.bytes())
    settings.tls_key.chmod(0o600)
    return settings


def test_nothing_named_is_no_https(tmp_path):
    assert load_certificate(Settings(data_dir=tmp_path)) is None


def test_a_pair_gives_connections_of_tls_1_2_and_more(tmp_path):
    certificate = load_certificate(write_pair(tmp_path))
    assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert certificate.shown().count("BEGIN CERTIFICATE") == 1
    assert "PRIVATE KEY" not in certificate.shown()


def test_half_a_pair_is_refused(tmp_path):
    settings = write_pair(tmp_path)
    for field in ("tls_cert", "tls_key"):
        with pytest.raises(StartRefused, match="both"):
            load_certificate(settings.model_copy(update={field: None}))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    settings = write_pair(tmp_path)
    settings.tls_key.chmod(mode)
    with pytest.raises(StartRefused, match="others can read"):
        load_certificate(settings)


def spoil(settings, how):
    match how:
        case "no key":
            settings.tls_key.unlink()
        case "no certificate":
            settings.tls_cert.unlink()
        case "no pem":
            settings.tls_cert.write_text("not a certificate")
        case "another's key":
            settings.tls_key.write_bytes(AUTHORITY.issue_cert("elsewhere").private_key_pem.bytes())
        case _:
            settings.tls_key.write_text("not a key")


@pytest.mark.parametrize("how", ["no key", "no certificate", "no pem", "another's key", "no pem for a key"])
def test_what_cannot_be_used_is_refused_without_its_path(tmp_path, how):
    settings = write_pair(tmp_path)
    spoil(settings, how)
    with pytest.raises(StartRefused) as refused:
        load_certificate(settings)
    assert refused.value.code == "tls_refused"
    assert str(tmp_path) not in refused.value.message


def test_a_renewal_that_cannot_be_used_leaves_what_was_there(tmp_path):
    settings = write_pair(tmp_path)
    certificate = load_certificate(settings)
    spoil(settings, "another's key")
    with pytest.raises(StartRefused):
        certificate.renew()
    write_pair(tmp_path, name="another.example")
    certificate.renew()
