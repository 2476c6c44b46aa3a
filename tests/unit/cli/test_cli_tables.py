"""Tables of the command line show what people and machines sent as it is."""

from rich.console import Console
from rich.text import Text

from gaugehouse.cli.progress import DataTable


def test_a_name_that_looks_like_markup_is_a_name():
    table = DataTable()
    for heading in ("component", "value"):
        table.add_column(heading)
    table.add("pump[/x]", "[red]a")
    table.add("plain", Text("dim", "dim"))
    console = Console(width=60, no_color=True)
    with console.capture() as captured:
        console.print(table)
    shown = captured.get()
    assert "pump[/x]" in shown
    assert "[red]a" in shown
