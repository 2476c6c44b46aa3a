"""What every process of an installation opens: database and access; no lake, so that small commands are quick."""

from gaugehouse.access import Access, SessionLimits, load_signing_secret
from gaugehouse.audit import LOCAL, Heads, Trail
from gaugehouse.config import Layout, Settings
from gaugehouse.database import Database, refuse_forgotten_database, sqlite_url
from gaugehouse.inventory.projects import DEFAULT_PROJECT, ensure_default_project, find_project


def open_database(settings: Settings) -> Database:
    """Return the migrated database of an installation, with its project `default`; any process may do this.

    Raises:
        StartRefused: the installation has another one, which this process was not told of.
    """
    layout = Layout(settings.data_dir)
    layout.data_dir.mkdir(parents=True, exist_ok=True)
    refuse_forgotten_database(settings)
    database = Database.open(settings.database_url or sqlite_url(layout.database_path))
    database.migrate()
    with database.reading() as session:  # who only reads waits for nobody who writes
        is_begun = find_project(session, DEFAULT_PROJECT) is not None
    if not is_begun:
        with database.transaction() as session:
            ensure_default_project(session)
    return database


def open_access(settings: Settings, database: Database) -> Access:
    """Return who checks credentials, with the installation's own signing secret."""
    sessions = SessionLimits(lifetime_s=settings.session_lifetime_s, idle_s=settings.session_idle_s)
    return Access(database, open_secret(settings), settings.token_lifetime_s, sessions=sessions, demo=settings.demo)


def open_secret(settings: Settings) -> bytes:
    """Return the installation's own secret, which keys that sign tokens are closed with."""
    return load_signing_secret(Layout(settings.data_dir).secrets_dir)


def open_heads(settings: Settings) -> Heads:
    """Return the file of the audit log's newest hashes."""
    return Heads(Layout(settings.data_dir).secrets_dir)


def local_trail(settings: Settings, project_id: str | None = None) -> Trail:
    """Return who acts where a command does something to the database: the operator of this machine."""
    heads = open_heads(settings)
    return Trail(heads=heads, actor_kind="operator", actor="operator", project_id=project_id, source=LOCAL)
