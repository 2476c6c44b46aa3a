"""When devices of a project are offline or at risk; retired components are found without a look at the others.

Revision: 0012. After: 0011.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

INDEX = "ix_components_project_id_retired_at"


def upgrade() -> None:
    op.create_table(
        "fleet_thresholds",
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("offline_after_s", sa.Double(), nullable=False),
        sa.Column("low_battery_percent", sa.Double(), nullable=False),
        sa.Column("weak_rssi_dbm", sa.Double(), nullable=False),
        sa.Column("falling_battery_percent_per_hour", sa.Double(), nullable=False),
        sa.Column("falling_battery_window_s", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_fleet_thresholds_project_id_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_fleet_thresholds")),
    )
    where = sa.text("retired_at IS NOT NULL")
    op.create_index(
        op.f(INDEX),
        "components",
        ["project_id", "retired_at"],
        unique=False,
        sqlite_where=where,
        postgresql_where=where,
    )


def downgrade() -> None:
    op.drop_index(op.f(INDEX), table_name="components")
    op.drop_table("fleet_thresholds")
