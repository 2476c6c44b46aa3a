"""Keys have owners, successors and a last use; one-time links; components move to other projects.

Revision: 0014. After: 0013.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

NAME = sa.String(length=200).with_variant(sa.String(length=200, collation="C"), "postgresql")
EMAIL = sa.String(length=320)


def upgrade() -> None:
    with op.batch_alter_table("users") as batch:
        batch.add_column(sa.Column("email", EMAIL, nullable=True))
        batch.create_index(op.f("ix_users_email"), ["email"], unique=False)
    with op.batch_alter_table("api_keys") as batch:
        batch.add_column(sa.Column("owner_id", sa.String(length=32), nullable=True))
        batch.add_column(sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
        batch.add_column(sa.Column("successor_id", sa.String(length=32), nullable=True))
        batch.create_foreign_key(op.f("fk_api_keys_owner_id_users"), "users", ["owner_id"], ["id"], ondelete="CASCADE")
        batch.create_index(op.f("ix_api_keys_owner_id"), ["owner_id"], unique=False)
    with op.batch_alter_table("components") as batch:
        batch.add_column(sa.Column("moved_to", sa.String(length=32), nullable=True))
    op.create_table(
        "one_time_links",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=32), nullable=True),
        sa.Column("user_id", sa.String(length=32), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=True),
        sa.Column("email", EMAIL, nullable=True),
        sa.Column("made_by", NAME, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_one_time_links_project_id_projects"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_one_time_links_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_one_time_links")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_one_time_links_token_hash")),
    )
    op.create_index(op.f("ix_one_time_links_project_id"), "one_time_links", ["project_id"], unique=False)
    op.create_index(op.f("ix_one_time_links_user_id"), "one_time_links", ["user_id"], unique=False)


def downgrade() -> None:
    op.drop_table("one_time_links")
    with op.batch_alter_table("components") as batch:
        batch.drop_column("moved_to")
    with op.batch_alter_table("api_keys") as batch:
        batch.drop_constraint(op.f("fk_api_keys_owner_id_users"), type_="foreignkey")
        batch.drop_index(op.f("ix_api_keys_owner_id"))
        batch.drop_column("successor_id")
        batch.drop_column("last_used_at")
        batch.drop_column("owner_id")
    with op.batch_alter_table("users") as batch:
        batch.drop_index(op.f("ix_users_email"))
        batch.drop_column("email")
