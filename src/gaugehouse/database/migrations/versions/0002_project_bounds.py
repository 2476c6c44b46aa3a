"""How late rows of a project may come, and how long they are kept.

Revision: 0002. After: 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("projects") as batch:
        batch.add_column(sa.Column("lateness_limit_s", sa.Double(), nullable=True))
        batch.add_column(sa.Column("measurements_keep_days", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("events_keep_days", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("archive_dir", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("projects") as batch:
        for name in ("archive_dir", "events_keep_days", "measurements_keep_days", "lateness_limit_s"):
            batch.drop_column(name)
