"""Projects have a pace and quotas of their own.

Revision: 0011. After: 0010.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = (
    ("writes_per_minute", sa.Integer()),
    ("write_bytes_per_s", sa.BigInteger()),
    ("reads_per_minute", sa.Integer()),
    ("reports_per_minute", sa.Integer()),
    ("series_quota", sa.Integer()),
    ("rows_per_day_quota", sa.BigInteger()),
    ("reports_waiting_quota", sa.Integer()),
)


def upgrade() -> None:
    with op.batch_alter_table("projects") as batch:
        for name, kind in COLUMNS:
            batch.add_column(sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("projects") as batch:
        for name, _kind in reversed(COLUMNS):
            batch.drop_column(name)
