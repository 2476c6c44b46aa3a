"""A payload of line protocol as positions in its bytes, before anything in it means something."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaugehouse.errors import MAX_ROWS_NAMED, LineProblem, TooLarge
from gaugehouse.ingest import line_scan as scan
from gaugehouse.ingest.flaws import shown
from gaugehouse.ingest.limits import Limits
from gaugehouse.ingest.texts import refuse_rows

SHORTEST_FIELD_BYTES = 3  # `,a=`, whose missing value is found later
LINE_REASONS = {
    scan.NO_FIELDS: "are missing",
    scan.NO_VALUE: "include one without a value",
    scan.NO_FIELD_KEY: "include one without a name",
    scan.OPEN_STRING: "include a string that is not closed",
    scan.BAD_END: "do not go on with a comma, a space or the end behind a value",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitBody:
    """All positions in the bytes: see `line_scan` for the rows of `lines` and `cells`."""

    data: scan.Bytes
    body: bytes
    lines: NDArray[np.int32]
    cells: NDArray[np.int32]
    problems: NDArray[np.int32]
    bad_lines: int

    def text(self, start: int, stop: int) -> str:
        return self.body[start:stop].decode(errors="replace")

    def cell_value(self, cell: int) -> str:
        return self.text(self.cells[scan.VALUE_START, cell], self.cells[scan.VALUE_STOP, cell])

    def line_numbers(self) -> NDArray[np.int32]:
        """Return for each cell the number of its line, from 1."""
        numbers: NDArray[np.int32] = self.lines[scan.NUMBER][self.cells[scan.LINE]]
        return numbers


def split_body(body: bytes, limits: Limits) -> SplitBody:
    data = np.frombuffer(body, np.uint8)
    most = min(limits.rows_limit, len(body) // SHORTEST_FIELD_BYTES + 1)
    # One column more: a line is entered before it is known to be good.
    lines, cells = np.empty((5, most + 1), np.int32), np.empty((6, most), np.int32)
    problems = np.empty((4, MAX_ROWS_NAMED), np.int32)
    line_count, cell_count, bad_lines = scan.split_lines(data, lines, cells, problems, limits.line_limit_bytes)
    split = SplitBody(
        data=data,
        body=body,
        lines=lines[:, :line_count],
        cells=cells[:, :cell_count],
        problems=problems[:, :bad_lines],
        bad_lines=bad_lines,
    )
    reasons = split.problems[scan.PROBLEM_REASON]
    if scan.TOO_MANY in reasons:
        raise refuse_rows(limits.rows_limit)
    if scan.LONG_LINE in reasons:
        line = split.problems[scan.PROBLEM_LINE][reasons == scan.LONG_LINE][0]
        raise TooLarge(f"line {line} has more than {limits.line_limit_bytes} bytes", code="line_too_long")
    return split


def explain_line(split: SplitBody, place: int) -> LineProblem:
    line, reason, start, stop = split.problems[:, place].tolist()
    return LineProblem(line=line, field="fields", reason=f"{LINE_REASONS[reason]}: {shown(split.text(start, stop))}")
