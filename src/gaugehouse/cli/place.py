"""Where an installation is; nothing is opened, so that every command may ask."""

from gaugehouse.config import Layout, Settings
from gaugehouse.database import refuse_forgotten_database
from gaugehouse.errors import NotFound


def require_database(settings: Settings) -> None:
    """Refuse where a command that only looks would have to make the database first.

    Raises:
        NotFound: there is none.
        StartRefused: it is one that we were not told of.
    """
    refuse_forgotten_database(settings)
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
