"""What is so about an installation, as far as its safety goes."""

from dataclasses import dataclass
from datetime import datetime

from gaugehouse.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """An API key that counts; `writes_all` says that it writes for every component of its project."""

    name: str
    project: str
    writes_all: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoAccount:
    """A user whose published password is right; `is_demo` says that it is refused outside demo mode."""

    name: str
    is_demo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What `find_weaknesses` judges.

    Args:
        settings: Of this environment: a server that was started in another may have others.
        now: By the clock of this machine.
        is_root: Whether this process is the machine's superuser.
        readable: Names of parts below the data folder that any user of the machine can read.
        free_bytes: Of the disk of the data. [bytes]
        size_bytes: Of that disk. [bytes]
        is_clock_kept: Whether the kernel says that its clock is synchronised; None when it does not say.
        database_ahead_s: How far the clock of a database elsewhere is ahead of ours. [s]
        keys: API keys that count.
        demo_accounts: Members who can sign in by a password that everybody knows, at least in demo mode.
        signing_since: Since when the newest key signs tokens; None before the first token.
        has_admin: Whether somebody who can sign in is an admin of a project.
        backed_up_at: When the newest backup was made.
        has_rows: Whether there is anything to lose.
    """

    settings: Settings
    now: datetime
    is_root: bool = False
    readable: tuple[str, ...] = ()
    free_bytes: int = 2**40
    size_bytes: int = 2**41
    is_clock_kept: bool | None = None
    database_ahead_s: float | None = None
    keys: tuple[KeyFacts, ...] = ()
    demo_accounts: tuple[DemoAccount, ...] = ()
    signing_since: datetime | None = None
    has_admin: bool = True
    backed_up_at: datetime | None = None
    has_rows: bool = False
