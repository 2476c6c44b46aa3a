"""Gaugehouse: a measurement lakehouse."""

__version__ = "0.1.0"
