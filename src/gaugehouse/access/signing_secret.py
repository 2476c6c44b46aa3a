"""The secret that signs tokens: made at first start, read by the server and by the command line beside it."""

import os
import secrets
import stat
from pathlib import Path

from gaugehouse.errors import StartRefused

FILE_NAME = "signing-secret"
SECRET_BYTES = 32  # HS256 wants a key as long as its hash (RFC 7518, 3.2)


def load_signing_secret(secrets_dir: Path) -> bytes:
    """Return the installation's signing secret; the first of several processes that ask makes it.

    The file is complete, mode 0600 and on disk before it gets its name.

    Raises:
        StartRefused: others can read the file, it is too short, or it cannot be read or made.
    """
    path = secrets_dir / FILE_NAME
    try:
        if not path.exists():
            _make_secret(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        secret = bytes.fromhex(path.read_text("ascii"))
    except OSError as exc:
        raise StartRefused(f"the signing secret cannot be read or made: {exc.strerror}") from exc
    except ValueError as exc:
        raise StartRefused("the signing secret is damaged; remove it to make a new one, which ends all tokens") from exc
    if mode & 0o077:
        raise StartRefused(
            "other users of this machine can read the signing secret; remove it to make a new one, which ends all "
            "tokens, or give it mode 0600 if nobody did",
            code="secret_exposed",
        )
    if len(secret) < SECRET_BYTES:
        raise StartRefused("the signing secret is too short; remove it to make a new one, which ends all tokens")
    return secret


def _make_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{FILE_NAME}.{secrets.token_hex(8)}")
    file = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, secrets.token_hex(SECRET_BYTES).encode("ascii"))
        os.fsync(file)
    finally:
        os.close(file)
    try:
        os.link(draft, path)  # unlike a rename, a link never replaces the secret another process just made
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
