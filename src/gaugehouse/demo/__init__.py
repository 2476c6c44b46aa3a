"""The generated plant and this host as a live component.

May import: ingest, inventory, access, measurements, errors. Deterministic by seed.
"""
