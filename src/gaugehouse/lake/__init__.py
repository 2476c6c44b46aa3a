"""Delta Lake, write-ahead log, hot rows, known keys, snapshots. The only room that speaks deltalake and DuckDB.

Owns: everything under `lake/` and `log/` of an installation. Entry: `Lake.open`, `Lake.append`, `Lake.pin`.
May import: kpi, measurements, config, errors.
Invariants: an acknowledged row is fsynced; a key is stored once; only the holder of the lock commits.
"""
