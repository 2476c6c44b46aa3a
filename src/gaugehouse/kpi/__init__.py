"""Facts, then formulas: numbers with their coverage, from rows in time order.

Owns: the facts kernel, the KPI catalogue, the rules of docs/kpis.md. Pure: arrays in, arrays out, no I/O.
May import: measurements, errors.
Invariant: a result depends on the rows alone, never on files, batches or threads.
"""
