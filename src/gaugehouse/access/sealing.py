"""What the installation's secret file is for: it closes private keys, so that the database alone forges nothing."""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
NAME_BYTES = 8


def derive(secret: bytes, purpose: str, size_bytes: int = KEY_BYTES) -> bytes:
    """Return bytes for one purpose; those of another do not follow from them. Source: RFC 5869."""
    return HKDF(algorithm=SHA256(), length=size_bytes, salt=None, info=f"gaugehouse {purpose}".encode()).derive(secret)


class Seal:
    """Closes and opens private keys (AES-256-GCM); a text is bound to the name that it was closed under.

    Args:
        secret: From `load_signing_secret`.
    """

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(derive(secret, "signing keys"))
        self.name = derive(secret, "name of the seal", NAME_BYTES).hex()
        self.issuer = f"urn:gaugehouse:{derive(secret, 'issuer of tokens', NAME_BYTES).hex()}"

    def close(self, plain: bytes, *, name: str) -> str:
        """Return what only `open` reads."""
        nonce = os.urandom(NONCE_BYTES)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, plain, name.encode())).decode()

    def open(self, sealed: str, *, name: str) -> bytes | None:
        """Return what was closed, or None when it was closed otherwise or changed since."""
        try:
            content = base64.b64decode(sealed, validate=True)
            return self._cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            return None
