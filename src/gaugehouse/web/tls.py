"""HTTPS by ourselves: a certificate and its key from files, read again when they were renewed.

TLS 1.2 is the least (ASVS 12.1.1), with the ciphers that the linked OpenSSL takes for safe. Connections keep what
they began with; those that come after a renewal get the new certificate.
"""

import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from gaugehouse.config import Settings
from gaugehouse.errors import StartRefused

TLS_REFUSED = "tls_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a server proves by who it is.

    Args:
        cert_path: PEM: the server's certificate, then those that lead to a known authority.
        key_path: PEM: its private key, for its owner only.
        context: What connections are made with.
    """

    cert_path: Path
    key_path: Path
    context: ssl.SSLContext

    def renew(self) -> None:
        """Read both files again; when they cannot be used, what was read before stays.

        Raises:
            StartRefused: They cannot be used.
        """
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.cert_path, self.key_path)
        _load(self.context, self.cert_path, self.key_path)

    def shown(self) -> str:
        """Return the server's own certificate as PEM: by it the command line knows the server again."""
        pem, end = self.cert_path.read_text("ascii"), "-----END CERTIFICATE-----"
        return pem[: pem.index(end) + len(end)] + "\n"


def load_certificate(settings: Settings) -> Certificate | None:
    """Return what the settings name, None when they name nothing.

    Raises:
        StartRefused: only one of two files is named, one cannot be read, others may read the key, or they do not belong
            together.
    """
    cert_path, key_path = settings.tls_cert, settings.tls_key
    if cert_path is None and key_path is None:
        return None
    if cert_path is None or key_path is None:
        raise StartRefused("HTTPS needs both GAUGEHOUSE_TLS_CERT and GAUGEHOUSE_TLS_KEY", code=TLS_REFUSED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    _load(context, cert_path, key_path)
    return Certificate(cert_path=cert_path, key_path=key_path, context=context)


def _load(context: ssl.SSLContext, cert_path: Path, key_path: Path) -> None:
    try:
        mode = stat.S_IMODE(key_path.stat().st_mode)
        if not os.access(cert_path, os.R_OK) or not os.access(key_path, os.R_OK):
            raise StartRefused("the certificate or its key cannot be read by this user", code=TLS_REFUSED)
        if mode & 0o077:
            raise StartRefused(
                f"others can read the key of the certificate (mode {mode:04o}); give it mode 0600, and replace it if"
                " somebody did",
                code=TLS_REFUSED,
            )
        context.load_cert_chain(cert_path, key_path, password=_no_password)
    except ssl.SSLError as exc:
        raise StartRefused(
            "the certificate and its key are no PEM files that belong together, or the key has a password",
            code=TLS_REFUSED,
        ) from exc
    except OSError as exc:
        raise StartRefused(f"the certificate or its key cannot be read: {exc.strerror}", code=TLS_REFUSED) from exc


def _no_password() -> str:
    """Return the password of a key; without this OpenSSL would ask whoever sits at the terminal."""
    return ""
