"""Ask, pin, run, hand over: reports as evidence.

Entry: `request_report`, `run_report`. May import: jobs, inventory, query, lake, kpi, measurements, database, errors.
Invariant: the same pin gives the same digest.
"""
