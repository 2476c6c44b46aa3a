"""Alembic's entry: runs on the connection that `database.migrating` hands over, never opens its own."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from gaugehouse.database.clock import UtcDateTime
from gaugehouse.database.tables import Base


def render_item(kind: str, item: Any, _autogen: AutogenContext) -> str | Literal[False]:
    """Write our column type as what it is in the database, so that old migrations never import today's code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=render_item,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
