"""What owners decide about firmware: the form of versions, releases, and who is told to run them.

Revision: 0013. After: 0012.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def _name() -> sa.String:
    return sa.String(length=200).with_variant(sa.String(length=200, collation="C"), "postgresql")


def _json() -> sa.JSON:
    return sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), "postgresql")


def _of_project(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_project_id_projects")
    return sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "firmware_forms",
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("form", sa.String(length=100), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        _of_project("firmware_forms"),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_firmware_forms")),
    )
    _create_releases()
    _create_rollouts()


def _create_releases() -> None:
    columns = ["project_id", "component_type", "version"]
    op.create_table(
        "firmware_releases",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("component_type", _name(), nullable=False),
        sa.Column("version", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("url", sa.String(length=1000), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("author", _name(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_reason", sa.Text(), nullable=True),
        _of_project("firmware_releases"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firmware_releases")),
        sa.UniqueConstraint(*columns, name=op.f("uq_firmware_releases_project_id_component_type_version")),
    )
    op.create_index(
        "uq_firmware_releases_recommended",
        "firmware_releases",
        ["project_id", "component_type"],
        unique=True,
        sqlite_where=sa.text("state = 'recommended'"),
        postgresql_where=sa.text("state = 'recommended'"),
    )
    name = op.f("ix_firmware_releases_project_id_created_at_id")
    op.create_index(name, "firmware_releases", ["project_id", "created_at", "id"])


def _create_rollouts() -> None:
    op.create_table(
        "firmware_rollouts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project_id", sa.String(length=32), nullable=False),
        sa.Column("release_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("share_percent", sa.Double(), nullable=False),
        sa.Column("labels", _json(), nullable=False),
        sa.Column("components", _json(), nullable=True),
        sa.Column("author", _name(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        _of_project("firmware_rollouts"),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["firmware_releases.id"],
            name=op.f("fk_firmware_rollouts_release_id_firmware_releases"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firmware_rollouts")),
    )
    name = op.f("ix_firmware_rollouts_project_id_created_at_id")
    op.create_index(name, "firmware_rollouts", ["project_id", "created_at", "id"])
    op.create_index(op.f("ix_firmware_rollouts_release_id"), "firmware_rollouts", ["release_id"])


def downgrade() -> None:
    for table in ("firmware_rollouts", "firmware_releases", "firmware_forms"):
        op.drop_table(table)
