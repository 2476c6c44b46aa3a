"""Progress bars on stderr, so that stdout stays what scripts read; tables on stdout."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

PIPE_COLUMNS = 240  # one line per row, for whoever reads it
errors = Console(stderr=True)
out = Console()


class Report(Protocol):
    """Moves one bar per `doing`; `note` stands behind it."""

    def __call__(self, doing: str, done: int, total: int, /, note: str = "") -> None: ...


class DataTable(Table):
    """A table of what people and machines sent: `pump[/x]` is a name, not markup."""

    def __init__(self) -> None:
        super().__init__(box=None, pad_edge=False, header_style="bold")

    def add(self, *cells: str | Text) -> None:
        """Append a row of texts as they are."""
        self.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def print_table(table: Table) -> None:
    """Print a table; into a pipe or file as wide as it is, for nobody can widen those."""
    console = out if out.is_terminal else Console(width=max(out.width, PIPE_COLUMNS))  # print(width=) only narrows
    console.print(table)


@contextmanager
def progress_bar() -> Iterator[Report]:
    """Give a function (what, done, total[, note]) that moves one bar per `what`."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", style="dim"),
        console=errors,
        transient=False,
    )
    tasks: dict[str, TaskID] = {}

    def report(doing: str, done: int, total: int, /, note: str = "") -> None:
        if doing not in tasks:
            tasks[doing] = bar.add_task(doing, total=total, note="")
        bar.update(tasks[doing], completed=done, total=total, note=note)

    with bar:
        yield report
