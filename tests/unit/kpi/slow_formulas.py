"""A slow, obvious evaluator of formulas: one cell at a time, plain Python numbers, straight from the tree.

It shares nothing with the checker or the evaluator but the parser: units are left out (tests choose formulas without
conversions), statuses are words. Floats, not fractions: a comparison must fall as it does in 64 bits.
"""

from dataclasses import dataclass

from gaugehouse.kpi.language import Call, Negation, Number, Operation, Reference

ORDER = ["ok", "partial", "no_data", "undefined"]


@dataclass(frozen=True)
class Cell:
    """A number or None, with its status and reason."""

    value: float | bool | None
    status: str = "ok"
    reason: str | None = None


def worst(*cells):
    """Return status and reason of the first cell with the worst status that says why, else of the first with it."""
    status = max((cell.status for cell in cells), key=ORDER.index)
    reasons = [cell.reason for cell in cells if cell.status == status and cell.reason is not None]
    return status, reasons[0] if reasons else None


def combine(function, *cells):
    status, reason = worst(*cells)
    if any(cell.value is None for cell in cells):
        return Cell(None, status, reason)
    return Cell(function(*(cell.value for cell in cells)), status, reason)


def divide(left, right, zero):
    status, reason = worst(left, right)
    if right.value == 0:
        return Cell(None, "no_data", reason) if status == "no_data" else Cell(None, "undefined", zero)
    return combine(lambda a, b: a / b, left, right)


def choose(condition, chosen, other):
    if condition.value is None:
        return Cell(None, condition.status, condition.reason)
    return combine(lambda _, value: value, condition, chosen if condition.value else other)


OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def evaluate(node, cells, zero="zero"):
    """Return the value of a formula for one cell.

    Args:
        node: The parsed formula.
        cells: Cell of each name.
        zero: Reason of a zero denominator.
    """
    match node:
        case Number():
            return Cell(node.value)
        case Reference():
            return cells[node.name]
        case Negation():
            return combine(lambda value: -value, evaluate(node.operand, cells, zero))
        case Operation():
            left, right = (evaluate(one, cells, zero) for one in (node.left, node.right))
            return divide(left, right, zero) if node.operator == "/" else combine(OPERATORS[node.operator], left, right)
        case Call():
            operands = [evaluate(one, cells, zero) for one in node.arguments]
            functions = {"least": lambda *all_: min(all_), "greatest": lambda *all_: max(all_), "abs": abs}
            return choose(*operands) if node.function == "if" else combine(functions[node.function], *operands)
    raise AssertionError(node)
