"""Answers for programs: one JSON document on stdout."""

import sys

import msgspec


def print_json(value: object) -> None:
    """Print a value, indented; instants and enums as text."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.buffer.flush()
