"""Where an installation is; without a lake or a database, so that every command may ask."""

from gaugehouse.config import Layout, Settings
from gaugehouse.errors import NotFound


def require_database(settings: Settings) -> None:
    """Raise NotFound where a command that only looks would have to make the database first."""
    if settings.database_url is None and not Layout(settings.data_dir).database_path.exists():
        raise NotFound(f"there is no installation in {settings.data_dir}", code="no_installation")


def require_installation(settings: Settings) -> Layout:
    """Return where an installation lives.

    Raises:
        NotFound: there is none.
    """
    layout = Layout(settings.data_dir)
    if not layout.log_dir.exists():
        raise NotFound(f"there is no installation in {settings.data_dir}", code="no_installation")
    return layout
