"""Looks at an installation: settings, files, clock, disk and database. Changes nothing."""

import ctypes
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session

from gaugehouse.access import find_demo_accounts
from gaugehouse.access.caller import WRITING_SCOPES
from gaugehouse.checkup.circumstances import Circumstances, DemoAccount, KeyFacts
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database, database_now, sqlite_url
from gaugehouse.database.tables import ApiKey, AuditEntry, Membership, Project, SigningKey, User

TIMEX_BYTES = 512  # larger than any kernel's `struct timex`; zeros ask and set nothing
TIME_ERROR = 5
OTHERS, GROUP_AND_OTHERS = 0o007, 0o077


def examine(settings: Settings) -> Circumstances:
    """Return what is so about the installation of these settings.

    Raises:
        Unavailable: its database does not answer.
    """
    layout = Layout(settings.data_dir)
    disk = shutil.disk_usage(layout.data_dir)
    database = Database.open(settings.database_url or sqlite_url(layout.database_path))
    try:
        with database.reading() as session:
            now = datetime.now(UTC)
            database_now_at = session.scalars(select(database_now())).one()
            return Circumstances(
                settings=settings,
                now=now,
                is_root=os.geteuid() == 0,
                readable=tuple(_find_readable(layout, settings)),
                free_bytes=disk.free,
                size_bytes=disk.total,
                is_clock_kept=_ask_kernel(),
                database_ahead_s=None if settings.database_url is None else (database_now_at - now).total_seconds(),
                keys=_load_keys(session, now),
                demo_accounts=tuple(
                    DemoAccount(name=user.name, is_demo=user.is_demo) for user in find_demo_accounts(session)
                ),
                signing_since=session.scalar(select(SigningKey.signs_from).order_by(SigningKey.signs_from.desc())),
                has_admin=_has_admin(session),
                backed_up_at=_load_backup(session),
                has_rows=any(layout.lake_dir.rglob("*.parquet")),
            )
    finally:
        database.dispose()


def _find_readable(layout: Layout, settings: Settings) -> Iterator[str]:
    """Yield the names of what others can read; below a folder that they cannot enter they read nothing."""
    if _mode(layout.secrets_dir) & GROUP_AND_OTHERS or any(
        _mode(path) & GROUP_AND_OTHERS for path in _files_of(layout.secrets_dir)
    ):
        yield "secrets"
    if settings.tls_key is not None and _mode(settings.tls_key) & GROUP_AND_OTHERS:
        yield "tls_key"
    if not _mode(layout.data_dir) & 0o001:
        return
    parts = {"database": layout.database_path, "lake": layout.lake_dir, "log": layout.log_dir, "logs": layout.logs_dir}
    yield from (name for name, path in parts.items() if _mode(path) & OTHERS)


def _files_of(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from folder.iterdir()


def _mode(path: Path) -> int:
    """Return the mode of a path, 0 where there is none."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _ask_kernel() -> bool | None:
    """Return whether something keeps the kernel's clock right, None where that cannot be asked (not Linux)."""
    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != TIME_ERROR


def _load_keys(session: Session, now: datetime) -> tuple[KeyFacts, ...]:
    statement = (
        select(
            ApiKey.name,
            Project.slug,
            ApiKey.component,
            ApiKey.scopes,
            ApiKey.created_at,
            ApiKey.expires_at,
            ApiKey.last_used_at,
        )
        .join(Project, Project.id == ApiKey.project_id)
        .where(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now))
        .order_by(ApiKey.created_at, ApiKey.id)
    )
    return tuple(
        KeyFacts(
            name=row.name,
            project=row.slug,
            writes_all=row.component is None and not WRITING_SCOPES.isdisjoint(row.scopes),
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
        )
        for row in session.execute(statement)
    )


def _has_admin(session: Session) -> bool:
    is_admin = and_(Membership.user_id == User.id, Membership.role == "admin", User.disabled_at.is_(None))
    return bool(session.scalar(select(exists().where(is_admin))))


def _load_backup(session: Session) -> datetime | None:
    """Return when the newest backup was made; the audit log has each."""
    statement = select(AuditEntry.at).where(AuditEntry.action == "backup.create").order_by(AuditEntry.at.desc())
    return session.scalar(statement.limit(1))
