"""The vocabulary: Arrow schemas, batches, periods, selections, metric attributes, name rules.

Owns: the words every other room uses. Imports: errors only. Pure: no I/O.
"""
