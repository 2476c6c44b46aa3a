"""Where the database of an installation is: written down beside the data, for who was not told."""

from sqlalchemy import URL

from gaugehouse.config import Layout, Settings
from gaugehouse.database.engine import Database
from gaugehouse.errors import StartRefused


def note_database(settings: Settings, database: Database) -> None:
    """Write down beside the data where their database is, unless it lies there as well."""
    if settings.database_url is not None:
        full = database.engine.url
        url = URL.create(full.get_backend_name(), host=full.host, port=full.port, database=full.database)
        path = Layout(settings.data_dir).database_note_path
        path.write_text(f"{url.render_as_string()}\n", "utf-8")


def refuse_forgotten_database(settings: Settings) -> None:
    """Refuse to take an empty SQLite file for the database of an installation that has a PostgreSQL.

    A command in a shell does not know what the service's unit or compose file says: the user that it creates there
    would be nobody's, and a server would start without users and projects.

    Raises:
        StartRefused: the server that owns this installation was told of a database, this process was not.
    """
    path = Layout(settings.data_dir).database_note_path
    if settings.database_url is None and path.exists():
        raise StartRefused(
            f"the database of this installation is {path.read_text('utf-8').strip()}: name it by"
            f" GAUGEHOUSE_DATABASE_URL, as for the server (docs/operation.md); if it is to be SQLite from now on,"
            f" remove {path}",
            code="database_forgotten",
        )
