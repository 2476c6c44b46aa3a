"""When a component was put into service: what was before does not count.

Revision: 0007. After: 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("components") as table:
        table.add_column(sa.Column("commissioned_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("components") as table:
        table.drop_column("commissioned_at")
