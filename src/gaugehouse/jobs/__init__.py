"""A queue on the database: claim, lease, heartbeat, fencing, progress, cancel. Knows no job's meaning.

May import: access, database, config, errors. Invariant: every write of a worker is fenced by (worker, attempt).
"""
