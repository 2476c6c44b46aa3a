"""The formula language: text to a small tree with positions, and back. Nothing is ever evaluated as code.

    formula    = sum [("<" | "<=" | ">" | ">=" | "=" | "!=") sum]
    sum        = product {("+" | "-") product}
    product    = factor {("*" | "/") factor}
    factor     = "-" factor | number ["[" unit "]"] | call | reference | "(" formula ")"
    call       = function "(" formula {"," formula} ")"
    reference  = name | name "." name | "@" name | "@" name "." name

A name is letters, digits and `_`, or anything in double quotes (`""` is a quote inside). What names mean, and whether
units fit, is the business of `checking`.
"""
# ruff: noqa: RUF001 - signs of other keyboards are read on purpose

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from gaugehouse.errors import Refused

MAX_CHARACTERS = 2_000  # a formula that a person can still read
MAX_NODES = 256
MAX_DEPTH = 64  # each level costs a few frames of the interpreter's stack
SHOWN_CHARACTERS = 76  # of a line around an error
SUGGESTIONS = 3

COMPARISONS = ("<", "<=", ">", ">=", "=", "!=")
# What is pasted from documents.
OTHER_SPELLINGS = {"==": "=", "×": "*", "·": "*", "÷": "/", "−": "-", "≤": "<=", "≥": ">=", "≠": "!="}
HINTS = {
    "^": "there are no powers: write x * x",
    "%": "a unit stands in brackets: 5 [%]",
    ",": "a number is written with a point, and commas stand between arguments only",
    "'": "a name with special characters stands in double quotes",
    ";": "a KPI is one formula",
    "&": "conditions are combined by if(a, b, c)",
    "|": "conditions are combined by if(a, b, c)",
}

TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
    | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<name>[^\W\d]\w*)
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<unit>\[[^\]]*\])
    | (?P<operator><=|>=|!=|==|[-+*/(),.<>=@×·÷−≤≥≠])
    """,
    re.VERBOSE,
)
PLAIN_NAME = re.compile(r"[^\W\d]\w*")
# Positions mean nothing in a text with these, and half of a surrogate pair cannot leave the process.
REFUSED_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Span(NamedTuple):
    """Where something stands in the text: [start, end). [characters]"""

    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A literal; without a unit it is a pure number."""

    value: float
    unit: str | None = None
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A name: of the metric itself, of the metric `metric`, or of the metric that the attribute `attribute` names."""

    name: str
    metric: str | None = None
    attribute: str | None = None
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """`@name`: what the component's attributes say."""

    name: str
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Negation:
    """`-operand`."""

    operand: "Node"
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`left operator right`: arithmetic or a comparison."""

    operator: str
    left: "Node"
    right: "Node"
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`function(arguments)`."""

    function: str
    arguments: tuple["Node", ...]
    span: Span = field(default=Span(), compare=False)


Node = Number | Reference | Attribute | Negation | Operation | Call


def parse(text: str) -> Node:
    """Return the tree of a formula.

    Raises:
        Refused: `formula_syntax` or `formula_too_large`, with line and column (from 1) and the place under a caret.
    """
    if len(text) > MAX_CHARACTERS:
        raise Refused(
            f"the formula has {len(text):,} characters, at most {MAX_CHARACTERS:,} are allowed",
            code="formula_too_large",
        )
    text = unicodedata.normalize("NFC", text)  # as the names of metrics are
    node = _Parser(text).parse()
    if find_depth(node) > MAX_DEPTH:
        raise refusal(
            text, node.span, "the formula is nested too deep, or has too many terms", code="formula_too_large"
        )
    return node


def refusal(
    text: str, span: Span, why: str, *, code: str = "formula_syntax", suggestions: Iterable[str] = ()
) -> Refused:
    """Return the error of a formula that shows where; fields `line`, `column` (from 1) and `suggestions`."""
    line_start = text.rfind("\n", 0, span.start) + 1
    line = text.count("\n", 0, span.start) + 1
    column = span.start - line_start + 1
    near = list(suggestions)
    place = f"line {line}, column {column}" if "\n" in text.strip() else f"column {column}"
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return Refused(
        f"{why} ({place}){hint}\n{_show(text, span, line_start)}",
        code=code,
        fields={"line": line, "column": column, "suggestions": near},
    )


def find_similar(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that one could have meant."""
    folded = {one.casefold(): one for one in known}
    if name.casefold() in folded:
        return [folded[name.casefold()]]
    return [folded[one] for one in difflib.get_close_matches(name.casefold(), folded, n=SUGGESTIONS, cutoff=0.6)]


def render(node: Node, spell: Callable[[Node], str | None] = lambda _: None) -> str:
    """Return a formula as text that `parse` turns into the same tree, with as few parentheses as possible.

    Args:
        node: The tree.
        spell: Gives another text for a node, such as its value; None for its own.
    """
    return _render(node, 0, spell)


def quote(name: str) -> str:
    """Return a name as it stands in a formula."""
    return name if PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it, in the order of the text."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(reversed(find_parts(one)))


def find_parts(node: Node) -> tuple[Node, ...]:
    """Return the nodes directly below one."""
    match node:
        case Negation():
            return (node.operand,)
        case Operation():
            return (node.left, node.right)
        case Call():
            return node.arguments
        case Number() | Reference() | Attribute():
            return ()


class _Token(NamedTuple):
    kind: str  # number, name, quoted, unit, operator, end
    text: str
    span: Span


class _Parser:
    """Recursive descent; every level of parentheses is one level of recursion, a chain of terms none."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._place = 0
        self._nodes = 0
        self._depth = 0

    def parse(self) -> Node:
        if self._next.kind == "end":
            raise refusal(self._text, self._next.span, "the formula is empty")
        node = self._formula()
        if self._next.kind != "end":
            raise self._unexpected("the formula could end here, but goes on with")
        return node

    # --- Tokens -------------------------------------------------------------------------------------------------------

    def _split(self) -> Iterator[_Token]:
        place = 0
        refused = REFUSED_CHARACTER.search(self._text)
        if refused is not None:
            raise refusal(self._text, Span(*refused.span()), f"the character U+{ord(refused[0]):04X} is not allowed")
        while place < len(self._text):
            found = TOKEN.match(self._text, place)
            if found is None:
                raise self._unexpected_character(place)
            kind = str(found.lastgroup)
            if kind != "space":
                yield _Token(kind, OTHER_SPELLINGS.get(found[0], found[0]), Span(*found.span()))
            place = found.end()
        yield _Token("end", "", Span(place, place))

    def _unexpected_character(self, place: int) -> Refused:
        character = self._text[place]
        if character == '"':
            why = "a quoted name does not end"
        elif character == "[":
            why = "a unit in brackets does not end"
        else:
            hint = HINTS.get(character)
            why = f"{character!r} means nothing here" + (f": {hint}" if hint else "")
        return refusal(self._text, Span(place, place + 1), why)

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += 1
        return token

    def _take_if(self, *operators: str) -> _Token | None:
        is_wanted = self._next.kind == "operator" and self._next.text in operators
        return self._take() if is_wanted else None

    def _unexpected(self, why: str) -> Refused:
        token = self._next
        if token.kind == "end":
            return refusal(self._text, token.span, "the formula ends too early")
        hint = HINTS.get(token.text)
        return refusal(self._text, token.span, f"{why} {token.text!r}" + (f": {hint}" if hint else ""))

    def _expect(self, operator: str) -> _Token:
        found = self._take_if(operator)
        if found is None:
            raise self._unexpected(f"expected {operator!r} before")
        return found

    # --- Grammar ------------------------------------------------------------------------------------------------------

    def _formula(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise refusal(self._text, self._next.span, "the formula is nested too deep", code="formula_too_large")
        left = self._sum()
        operator = self._take_if(*COMPARISONS)
        if operator is not None:
            left = self._operation(operator.text, left, self._sum())
            if self._next.text in COMPARISONS:
                raise self._unexpected("two comparisons in a row: write if(a < b, b < c, 1 > 2) instead of")
        self._depth -= 1
        return left

    def _sum(self) -> Node:
        left = self._product()
        while (operator := self._take_if("+", "-")) is not None:
            left = self._operation(operator.text, left, self._product())
        return left

    def _product(self) -> Node:
        left = self._factor()
        while (operator := self._take_if("*", "/")) is not None:
            left = self._operation(operator.text, left, self._factor())
        return left

    def _operation(self, operator: str, left: Node, right: Node) -> Node:
        span = Span(left.span.start, right.span.end)
        return self._counted(Operation(operator=operator, left=left, right=right, span=span))

    def _factor(self) -> Node:
        signs = []
        while (sign := self._take_if("-")) is not None:
            signs.append(sign)
            self._check_size(len(signs))
        node = self._primary()
        for sign in reversed(signs):
            node = self._counted(Negation(operand=node, span=Span(sign.span.start, node.span.end)))
        return node

    def _primary(self) -> Node:
        opened = self._take_if("(")
        if opened is not None:
            node = self._formula()
            self._expect(")")
            return node
        marker = self._take_if("@")
        if marker is not None:
            return self._attribute(marker)
        if self._next.kind == "number":
            return self._number()
        if self._next.kind in {"name", "quoted"}:
            is_call = self._next.kind == "name" and self._tokens[self._place + 1].text == "("
            return self._call() if is_call else self._reference()
        if self._next.kind == "unit":
            raise self._unexpected("a unit belongs behind a number; here it is")
        raise self._unexpected("expected a number, a name or '(' instead of")

    def _number(self) -> Node:
        token = self._take()
        value = float(token.text)
        if value == float("inf"):
            raise refusal(self._text, token.span, "the number is too large")
        unit, end = None, token.span.end
        if self._next.kind == "unit":
            unit, end = self._next.text[1:-1].strip(), self._next.span.end
            if not unit:
                raise self._unexpected("expected a unit inside")
            self._take()
        return self._counted(Number(value=value, unit=unit, span=Span(token.span.start, end)))

    def _name(self) -> _Token:
        if self._next.kind not in {"name", "quoted"}:
            raise self._unexpected("expected a name instead of")
        token = self._take()
        if token.kind == "name":
            return token
        name = token.text[1:-1].replace('""', '"')
        if not name:
            raise refusal(self._text, token.span, "the name is empty")
        return token._replace(text=name)

    def _reference(self) -> Node:
        first = self._name()
        if self._take_if(".") is None:
            return self._counted(Reference(name=first.text, span=first.span))
        name = self._name()
        span = Span(first.span.start, name.span.end)
        return self._counted(Reference(name=name.text, metric=first.text, span=span))

    def _attribute(self, marker: _Token) -> Node:
        attribute = self._name()
        if self._take_if(".") is None:
            span = Span(marker.span.start, attribute.span.end)
            return self._counted(Attribute(name=attribute.text, span=span))
        name = self._name()
        span = Span(marker.span.start, name.span.end)
        return self._counted(Reference(name=name.text, attribute=attribute.text, span=span))

    def _call(self) -> Node:
        function = self._take()
        self._expect("(")
        arguments = [self._formula()]
        while self._take_if(",") is not None:
            arguments.append(self._formula())
        closed = self._expect(")")
        span = Span(function.span.start, closed.span.end)
        return self._counted(Call(function=function.text, arguments=tuple(arguments), span=span))

    def _counted(self, node: Node) -> Node:
        self._nodes += 1
        self._check_size(0)
        return node

    def _check_size(self, waiting: int) -> None:
        if self._nodes + waiting > MAX_NODES:
            why = f"the formula has more than {MAX_NODES} parts"
            raise refusal(self._text, self._tokens[max(0, self._place - 1)].span, why, code="formula_too_large")


def find_depth(node: Node) -> int:
    """Return how many levels a tree has; a loop, for it may be deeper than the stack allows."""
    deepest, level = 0, [node]
    while level:
        deepest += 1
        level = [part for one in level for part in find_parts(one)]
    return deepest


def _show(text: str, span: Span, line_start: int) -> str:
    """Return the line with a caret below the place; of a long line the part around it."""
    line_end = text.find("\n", span.start)
    line = text[line_start : len(text) if line_end < 0 else line_end]
    column = span.start - line_start
    first = max(0, min(column - SHOWN_CHARACTERS // 2, len(line) - SHOWN_CHARACTERS))
    shown = line[first : first + SHOWN_CHARACTERS].replace("\t", " ").replace("\r", " ")
    left, right = "…" if first > 0 else "", "…" if first + SHOWN_CHARACTERS < len(line) else ""
    width = max(1, min(span.end - span.start, len(shown) - (column - first)))
    return f"  {left}{shown}{right}\n  {' ' * (len(left) + column - first)}{'^' * width}"


COMPARISON_LEVEL, SUM_LEVEL, PRODUCT_LEVEL, FACTOR_LEVEL = 1, 2, 3, 4
LEVELS = (
    dict.fromkeys(COMPARISONS, COMPARISON_LEVEL) | {"+": SUM_LEVEL, "-": SUM_LEVEL} | dict.fromkeys("*/", PRODUCT_LEVEL)
)


def _render(node: Node, wanted: int, spell: Callable[[Node], str | None]) -> str:
    """Return a node's text, in parentheses where its operator binds less than `wanted`."""
    text = spell(node)
    if text is not None:
        return text
    match node:
        case Number() | Reference() | Attribute():
            text = _render_leaf(node)
        case Negation():
            text = f"-{_render(node.operand, FACTOR_LEVEL, spell)}"
        case Call():
            text = f"{node.function}({', '.join(_render(one, 0, spell) for one in node.arguments)})"
        case Operation():
            level = LEVELS[node.operator]
            left_level = level + 1 if level == COMPARISON_LEVEL else level
            left, right = _render(node.left, left_level, spell), _render(node.right, level + 1, spell)
            text = f"{left} {node.operator} {right}"
            text = f"({text})" if level < wanted else text
    return text


def _render_leaf(node: Number | Reference | Attribute) -> str:
    match node:
        case Attribute():
            return f"@{quote(node.name)}"
        case Reference(metric=str(metric)):
            return f"{quote(metric)}.{quote(node.name)}"
        case Reference(attribute=str(attribute)):
            return f"@{quote(attribute)}.{quote(node.name)}"
        case Reference():
            return quote(node.name)
    number = str(int(node.value)) if node.value.is_integer() and node.value < 1e15 else repr(node.value)
    return number if node.unit is None else f"{number} [{node.unit}]"
