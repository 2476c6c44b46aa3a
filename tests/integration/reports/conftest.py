"""A small plant for every test of reports."""

from planting import plant

__all__ = ["plant"]
