"""The audit log: chains of entries that the database itself refuses to change.

Revision: 0010. After: 0009.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NAME = sa.String(length=200).with_variant(sa.String(length=200, collation="C"), "postgresql")

SQLITE = (
    """
    CREATE TRIGGER audit_entries_update BEFORE UPDATE ON audit_entries
    BEGIN SELECT RAISE(ABORT, 'entries of the audit log are never changed'); END
    """,
    # INSERT OR REPLACE deletes what is in its way without asking the triggers for DELETE.
    """
    CREATE TRIGGER audit_entries_insert BEFORE INSERT ON audit_entries
    WHEN EXISTS (SELECT 1 FROM audit_entries WHERE chain = NEW.chain AND number = NEW.number)
    BEGIN SELECT RAISE(ABORT, 'entries of the audit log are never replaced'); END
    """,
    """
    CREATE TRIGGER audit_entries_delete BEFORE DELETE ON audit_entries
    WHEN EXISTS (SELECT 1 FROM audit_chains WHERE chain = OLD.chain)
    BEGIN SELECT RAISE(ABORT, 'entries of the audit log are never deleted'); END
    """,
    """
    CREATE TRIGGER audit_chains_insert BEFORE INSERT ON audit_chains
    WHEN EXISTS (SELECT 1 FROM audit_chains WHERE chain = NEW.chain)
    BEGIN SELECT RAISE(ABORT, 'chains of the audit log are never replaced'); END
    """,
    """
    CREATE TRIGGER audit_chains_update BEFORE UPDATE ON audit_chains
    WHEN NEW.chain <> OLD.chain OR NEW.number <> OLD.number + 1
    BEGIN SELECT RAISE(ABORT, 'chains of the audit log only grow'); END
    """,
    """
    CREATE TRIGGER audit_chains_delete BEFORE DELETE ON audit_chains
    WHEN OLD.chain = 'installation' OR NOT EXISTS (
        SELECT 1 FROM audit_entries
        WHERE chain = 'installation' AND action = 'project.delete' AND object_id = OLD.chain
            AND instr(details, OLD.hash) > 0
    )
    BEGIN SELECT RAISE(ABORT, 'chains of the audit log end with their project only'); END
    """,
)
POSTGRESQL = (
    """
    CREATE FUNCTION gaugehouse_audit_entries() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            IF NOT EXISTS (SELECT 1 FROM audit_chains WHERE chain = OLD.chain) THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION 'entries of the audit log are never changed or deleted';
    END $$
    """,
    """
    CREATE FUNCTION gaugehouse_audit_chains() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            IF NEW.chain = OLD.chain AND NEW.number = OLD.number + 1 THEN
                RETURN NEW;
            END IF;
        ELSIF TG_OP = 'DELETE' THEN
            IF OLD.chain <> 'installation' AND EXISTS (
                SELECT 1 FROM audit_entries
                WHERE chain = 'installation' AND action = 'project.delete' AND object_id = OLD.chain
                    AND strpos(details, OLD.hash) > 0
            ) THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION 'chains of the audit log only grow, and end with their project';
    END $$
    """,
    """
    CREATE TRIGGER audit_entries_kept BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION gaugehouse_audit_entries()
    """,
    """
    CREATE TRIGGER audit_entries_not_emptied BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION gaugehouse_audit_entries()
    """,
    """
    CREATE TRIGGER audit_chains_kept BEFORE UPDATE OR DELETE ON audit_chains
    FOR EACH ROW EXECUTE FUNCTION gaugehouse_audit_chains()
    """,
    """
    CREATE TRIGGER audit_chains_not_emptied BEFORE TRUNCATE ON audit_chains
    FOR EACH STATEMENT EXECUTE FUNCTION gaugehouse_audit_chains()
    """,
)


def upgrade() -> None:
    op.create_table(
        "audit_chains",
        sa.Column("chain", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_audit_chains")),
    )
    op.create_table(
        "audit_entries",
        sa.Column("chain", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_kind", sa.String(length=16), nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object_kind", sa.String(length=64), nullable=False),
        sa.Column("object_id", NAME, nullable=True),
        sa.Column("object_name", NAME, nullable=True),
        sa.Column("source", NAME, nullable=False),
        sa.Column("request_id", NAME, nullable=True),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("chain", "number", name=op.f("pk_audit_entries")),
    )
    op.create_index(op.f("ix_audit_entries_chain_at"), "audit_entries", ["chain", "at"], unique=False)
    statements = POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE
    for statement in statements:
        op.execute(sa.text(statement))


def downgrade() -> None:
    op.drop_table("audit_entries")
    op.drop_table("audit_chains")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.text("DROP FUNCTION gaugehouse_audit_entries()"))
        op.execute(sa.text("DROP FUNCTION gaugehouse_audit_chains()"))
