"""In which batch the values of a revision go into the lake's table `kpi_values`.

Revision: 0008. After: 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("report_revisions") as batch:
        batch.add_column(sa.Column("values_batch", sa.Integer(), nullable=True))
        batch.create_index(
            batch.f("ix_report_revisions_values_batch"),
            ["values_batch"],
            unique=False,
            sqlite_where=sa.text("digest IS NOT NULL"),
            postgresql_where=sa.text("digest IS NOT NULL"),
        )


def downgrade() -> None:
    with op.batch_alter_table("report_revisions") as batch:
        batch.drop_index(batch.f("ix_report_revisions_values_batch"))
        batch.drop_column("values_batch")
