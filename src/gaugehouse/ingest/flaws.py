"""Bad cells of one delivery: a mask per finding, words only for the first few."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from gaugehouse.errors import MAX_ROWS_NAMED, RowProblem

SHOWN_CHARS = 40


def shown(text: str) -> str:
    """Return foreign text for a message: quoted, short, printable, without lone surrogates."""
    cut = text[:SHOWN_CHARS] + ("…" if len(text) > SHOWN_CHARS else "")
    return f"'{cut}'" if cut.isprintable() else ascii(cut)


class Flaws:
    """Findings about the rows of one delivery, in the order they were made.

    Args:
        row_count: Rows of the delivery, good and bad.
    """

    def __init__(self, row_count: int) -> None:
        self.bad: NDArray[np.bool_] = np.zeros(row_count, dtype=bool)
        self._findings: list[tuple[str, NDArray[np.intp], Callable[[int], str]]] = []
        self._flagged: dict[str, NDArray[np.bool_]] = {}
        self._codes: set[str | None] = set()

    def add(
        self, field: str, mask: NDArray[np.bool_], reason: str | Callable[[int], str], *, code: str | None = None
    ) -> None:
        """Flag the rows of a mask. A row whose field was flagged before keeps its first reason.

        `code` is what the refusal is called when nothing else is wrong with the delivery.
        """
        if not mask.any():
            return
        flagged = self._flagged.get(field)
        fresh = mask if flagged is None else mask & ~flagged
        self._flagged[field] = fresh if flagged is None else flagged | fresh
        self.bad |= fresh
        if fresh.any():
            self._codes.add(code)
        words = (lambda _row: reason) if isinstance(reason, str) else reason
        self._findings.append((field, np.flatnonzero(fresh)[:MAX_ROWS_NAMED], words))

    def add_cells(self, field: str, reasons: Mapping[int, str]) -> None:
        """Flag single cells, each with its own reason."""
        if reasons:
            mask = np.zeros(len(self.bad), dtype=bool)
            mask[list(reasons)] = True
            self.add(field, mask, reasons.__getitem__)

    def settle(self, field: str, mask: NDArray[np.bool_]) -> None:
        """Let nothing more be said about a field of these rows: they are flagged as a whole."""
        flagged = self._flagged.get(field)
        self._flagged[field] = mask if flagged is None else flagged | mask

    @property
    def code(self) -> str | None:
        """The code of the refusal, None for the general one."""
        return next(iter(self._codes)) if len(self._codes) == 1 else None

    def first(self) -> list[RowProblem]:
        """Return the first problems in row order, as many as an error names."""
        problems = [
            RowProblem(row=int(row), field=field, reason=words(int(row)))
            for field, rows, words in self._findings
            for row in rows
        ]
        return sorted(problems, key=lambda problem: problem.row)[:MAX_ROWS_NAMED]
