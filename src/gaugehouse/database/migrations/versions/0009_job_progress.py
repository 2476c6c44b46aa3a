"""Jobs say their phase, rows and estimated end, why they failed in one word, and when they were claimed last.

Revision: 0009. After: 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INDEX = ("project_id", "kind", "claimed_at")


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("phase", sa.String(length=32), nullable=False, server_default=""))
        batch.add_column(sa.Column("rows_read", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("rows_total", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("estimated_end_at", sa.DateTime(timezone=True), nullable=True))
        batch.add_column(sa.Column("reason_code", sa.String(length=64), nullable=True))
        batch.add_column(sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("jobs") as batch:
        batch.alter_column("phase", server_default=None)
        batch.create_index(batch.f("ix_jobs_project_id_kind_claimed_at"), list(INDEX), unique=False)


def downgrade() -> None:
    with op.batch_alter_table("jobs") as batch:
        batch.drop_index(batch.f("ix_jobs_project_id_kind_claimed_at"))
        for name in ("claimed_at", "reason_code", "estimated_end_at", "rows_total", "rows_read", "phase"):
            batch.drop_column(name)
