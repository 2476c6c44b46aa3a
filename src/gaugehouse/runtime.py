"""Composition root: Settings -> Runtime."""
