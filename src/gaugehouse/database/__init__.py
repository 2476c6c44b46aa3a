"""Engine, session, all tables, Alembic migrations. SQLite by default, PostgreSQL by URL.

Owns: ORM tables and the one migration history.
Entry: `Database.open`, `Database.migrate`, `Database.transaction`, `Database.reading`; tables in `database.tables`.
May import: config, errors, measurements.
Invariants: a request or job is one transaction, committed at the edge; every datetime is aware UTC; a locked or
unreachable database is `Unavailable`, never a vendor's exception.
"""

from gaugehouse.database.clock import database_now as database_now
from gaugehouse.database.engine import Database as Database
from gaugehouse.database.engine import sqlite_url as sqlite_url
from gaugehouse.database.ids import new_id as new_id
from gaugehouse.database.whereabouts import note_database as note_database
from gaugehouse.database.whereabouts import refuse_forgotten_database as refuse_forgotten_database
from gaugehouse.database.writes import insert_missing as insert_missing
