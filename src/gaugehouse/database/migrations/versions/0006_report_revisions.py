"""A report keeps every revision that was issued, each with its own pin, job and digest.

Revision: 0006. After: 0005.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOVED = ("pin", "as_of", "asked_at", "job_id", "digest", "result_path", "result_rows")


def _columns() -> list[sa.Column[object]]:
    """Return the columns that a revision has and a report had."""
    return [
        sa.Column("pin", sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), "postgresql"), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=128), nullable=True),
        sa.Column("result_path", sa.Text(), nullable=True),
        sa.Column("result_rows", sa.Integer(), nullable=True),
    ]


def upgrade() -> None:
    name = sa.String(length=200).with_variant(sa.String(length=200, collation="C"), "postgresql")
    op.create_table(
        "report_revisions",
        sa.Column("report_id", sa.String(length=32), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("requested_by", name, nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        *_columns(),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id"], ["reports.id"], name=op.f("fk_report_revisions_report_id_reports"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("report_id", "revision", name=op.f("pk_report_revisions")),
    )
    with op.batch_alter_table("report_revisions") as batch:
        batch.create_index(batch.f("ix_report_revisions_job_id"), ["job_id"], unique=False)
    op.execute(
        "INSERT INTO report_revisions (report_id, revision, requested_by, because, pin, as_of, asked_at, job_id,"
        " digest, result_path, result_rows, created_at)"
        " SELECT id, revision, requested_by, '', pin, as_of, asked_at, job_id, digest, result_path, result_rows,"
        " created_at FROM reports"
    )
    with op.batch_alter_table("reports") as batch:
        batch.drop_index(batch.f("ix_reports_job_id"))
        for column in MOVED:
            batch.drop_column(column)


def downgrade() -> None:
    with op.batch_alter_table("reports") as batch:
        for column in _columns():
            column.nullable = True
            batch.add_column(column)
        batch.create_index(batch.f("ix_reports_job_id"), ["job_id"], unique=False)
    for name in MOVED:
        newest = sa.text(
            f"UPDATE reports SET {name} = (SELECT {name} FROM report_revisions AS r"  # noqa: S608 - constants
            " WHERE r.report_id = reports.id AND r.revision = reports.revision)"
        )
        op.execute(newest)
    with op.batch_alter_table("reports") as batch:
        for name in ("pin", "asked_at", "job_id"):
            batch.alter_column(name, nullable=False)
    op.drop_table("report_revisions")
