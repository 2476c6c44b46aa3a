"""One question: resolve, one scan, an Arrow stream.

May import: inventory, lake, measurements, config, errors.
"""
