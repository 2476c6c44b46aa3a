"""Interesting inputs, kept as text: one bytes literal a line, sorted, so that a change of them can be read."""

import ast
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def path_of(target):
    return FOLDER / f"{target}.txt"


def read_corpus(target):
    """Return the kept inputs of a target."""
    path = path_of(target)
    return [ast.literal_eval(line) for line in path.read_text("ascii").splitlines()] if path.exists() else []


def write_corpus(target, bodies):
    """Keep inputs of a target, and only these."""
    written = sorted({ascii(bytes(body)) for body in bodies}, key=lambda literal: (len(literal), literal))
    path_of(target).write_text("".join(f"{literal}\n" for literal in written), "ascii")
