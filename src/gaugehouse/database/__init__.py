"""Engine, session, all tables, Alembic migrations. SQLite by default, PostgreSQL by URL.

Owns: ORM tables and the one migration history. Entry: `Database.open`, `Database.transaction`.
May import: config, errors, measurements. A request or job is one transaction, committed at the edge.
"""
