"""What a page is made of: finished texts in a few kinds of blocks, the same for HTML and PDF.

A template knows how a table looks, not what stands in it; a section knows what it says, not how that looks. So both
formats say the same, and text of users reaches a template as a value only, never as markup.
"""

from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["", "better", "worse"]
Align = Literal["left", "right"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A small line below a value."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table.

    Args:
        text: Its value, finished.
        light: red, amber, green or grey, drawn as a shape of its own before the value; empty for none.
        light_word: What the light means.
        mark: Number of a footnote.
        notes: Small lines below.
        bar: Length of a bar beside the value, 0..1. [1]
        strong: Set in semibold.
    """

    text: str = ""
    light: str = ""
    light_word: str = ""
    mark: str = ""
    notes: tuple[Note, ...] = ()
    bar: float | None = None
    strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its title, small lines below it, and a share of the width (0: as narrow as its cells)."""

    title: str
    notes: tuple[str, ...] = ()
    align: Align = "left"
    weight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first column heads its rows."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    footnotes: tuple[str, ...] = ()
    left_out: str = ""
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A small chart with its caption; `picture` is the name it has in `Pictures`."""

    title: str
    notes: tuple[str, ...]
    picture: str
    description: str
    light: str = ""
    light_word: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panels:
    """Charts side by side, as many in a row as `columns` on paper."""

    caption: str
    columns: int
    panels: tuple[Panel, ...]
    legend: str = ""
    left_out: str = ""
    kind: Literal["panels"] = "panels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A light with how many values have it."""

    light: str
    word: str
    count: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """The lights of a report at one glance."""

    tiles: tuple[Tile, ...]
    kind: Literal["tiles"] = "tiles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and its value; exact ones are set so that each character can be told from another."""

    name: str
    value: str
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A list of facts."""

    facts: tuple[Fact, ...]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A sentence or two."""

    text: str
    kind: Literal["line"] = "line"


Block = Table | Panels | Tiles | Facts | Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page with a heading."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """What has to be known before anything is read: a revision, that numbers are stale, that a period still runs."""

    text: str
    tone: Literal["plain", "warning"] = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report as it is read."""

    title: str
    project: str
    period: str
    bounds: str
    asked: str
    badges: tuple[Badge, ...]
    sections: tuple[Section, ...]
    footer: str
    paper: str


@dataclass(slots=True)
class Pictures:
    """The charts of a page by name, as SVG."""

    drawn: dict[str, str] = field(default_factory=dict)

    def add(self, svg: str) -> str:
        """Keep a picture and return its name."""
        name = f"chart-{len(self.drawn) + 1}.svg"
        self.drawn[name] = svg
        return name
