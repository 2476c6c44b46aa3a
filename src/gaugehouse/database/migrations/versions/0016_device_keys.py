"""A million device keys: those of a component, and the newest of a project, are found without a look at the others.

Revision: 0016. After: 0015.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

OF_COMPONENT = ["project_id", "component"]
NEWEST = ["project_id", "created_at", "id"]


def upgrade() -> None:
    op.create_index(op.f("ix_api_keys_project_id_component"), "api_keys", OF_COMPONENT, unique=False)
    op.create_index(op.f("ix_api_keys_project_id_created_at_id"), "api_keys", NEWEST, unique=False)
    op.drop_index(op.f("ix_api_keys_project_id"), table_name="api_keys")


def downgrade() -> None:
    op.create_index(op.f("ix_api_keys_project_id"), "api_keys", ["project_id"], unique=False)
    op.drop_index(op.f("ix_api_keys_project_id_created_at_id"), table_name="api_keys")
    op.drop_index(op.f("ix_api_keys_project_id_component"), table_name="api_keys")
