"""One delivery: decode by format, check, register, append, receipt.

Entry: `accept_measurements`, `accept_events`, `read_file`. All or nothing, unless asked for less.
May import: inventory, lake, measurements, config, errors. Columnar: no object per row.
"""
