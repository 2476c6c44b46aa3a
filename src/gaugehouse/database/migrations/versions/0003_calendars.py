"""What a plant plans: shift calendars, exclusion windows, and what components and metrics say about OEE and holds.

Revision: 0003. After: 0002.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def json_column() -> sa.JSON:
    return sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), "postgresql")


def name_column() -> sa.String:
    return sa.String(length=200).with_variant(sa.String(length=200, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "shift_calendars",
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("calendar", json_column(), nullable=False),
        sa.Column("author", name_column(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_shift_calendars_project_id_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "version", name=op.f("pk_shift_calendars")),
    )
    op.create_table(
        "exclusions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("is_for_all", sa.Boolean(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author", name_column(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_by", name_column(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_exclusions_project_id_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exclusions")),
    )
    op.create_index(
        op.f("ix_exclusions_project_id_starts_at_id"), "exclusions", ["project_id", "starts_at", "id"], unique=False
    )
    op.create_table(
        "exclusion_components",
        sa.Column("exclusion_id", sa.String(length=32), nullable=False),
        sa.Column("component_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["exclusion_id"],
            ["exclusions.id"],
            name=op.f("fk_exclusion_components_exclusion_id_exclusions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["component_id"],
            ["components.id"],
            name=op.f("fk_exclusion_components_component_id_components"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("exclusion_id", "component_id", name=op.f("pk_exclusion_components")),
    )
    op.create_index(
        op.f("ix_exclusion_components_component_id"), "exclusion_components", ["component_id"], unique=False
    )
    with op.batch_alter_table("components") as batch:
        batch.add_column(sa.Column("oee", json_column(), nullable=True))
    with op.batch_alter_table("metrics") as batch:
        batch.add_column(sa.Column("state_names", json_column(), nullable=True))
        batch.add_column(sa.Column("alive_metric", name_column(), nullable=True))
        batch.add_column(sa.Column("lateness_s", sa.Double(), nullable=True))
        batch.add_column(sa.Column("subgroup", sa.String(length=32), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("metrics") as batch:
        for name in ("subgroup", "lateness_s", "alive_metric", "state_names"):
            batch.drop_column(name)
    with op.batch_alter_table("components") as batch:
        batch.drop_column("oee")
    for name in ("exclusion_components", "exclusions", "shift_calendars"):
        op.drop_table(name)
