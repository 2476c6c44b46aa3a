"""Numbers, shares and durations as people read them: every page, table and axis writes them by these functions.

- At least four significant digits, and never a rounded whole number: 1234567 pieces are 1,234,567, not 1,235,000.
- A percentage never rounds up to a whole that it is not: 99.9996 % is not 100 %, 0.0004 % is not 0 %.
- Seconds become days, hours and minutes; the two largest parts, rounded with carry.
- A minus is a minus (U+2212), a range has an en dash, a number and its unit stay on one line (U+00A0).
"""

import math
from dataclasses import dataclass
from decimal import Decimal

NOTHING = "–"
MINUS = "\N{MINUS SIGN}"
FIXED = "\N{NO-BREAK SPACE}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LARGEST_PLAIN = 1e15  # above, a double no longer holds every whole number
SMALLEST_PLAIN = 1e-4
MAX_DECIMALS = 8
PERCENT = 100
WHOLES = frozenset({0.0, 100.0})  # the percentages that say all or nothing
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
MILLI_S = 1e-3
COUNTED_UNITS = frozenset({"", "1"})  # of things that are counted: nothing to print behind the number


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberStyle:
    """How numbers are punctuated: `.` with `,` between thousands, or `,` with `.` between them."""

    decimal: str = "."
    digits: int = 4

    @property
    def thousands(self) -> str:
        return "," if self.decimal == "." else "."


DEFAULT_STYLE = NumberStyle()


def format_number(
    value: float | None, style: NumberStyle = DEFAULT_STYLE, *, decimals: int | None = None, trim: bool = False
) -> str:
    """Return a number without its unit.

    Args:
        value: None and NaN are a dash.
        style: Punctuation and least significant digits.
        decimals: Fixed number of decimals, as on an axis; without it as many as four significant digits need.
        trim: Without zeros at the end: for single numbers in a sentence; columns line up with them.

    >>> format_number(1234567.0), format_number(0.0123456), format_number(-7.25), format_number(-7.25, trim=True)
    ('1,234,567', '0.01235', '−7.250', '−7.25')
    """
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return f"{MINUS if value < 0 else ''}∞"
    if decimals is None and value and not SMALLEST_PLAIN <= abs(value) < LARGEST_PLAIN:
        return _write_power(value, style)
    places = _find_decimals(value, style.digits) if decimals is None else decimals
    text = f"{value:,.{places}f}"
    if "." in text and (trim or (decimals is None and _is_whole(value))):
        text = text.rstrip("0").rstrip(".")
    return _punctuate(text, style)


def _find_decimals(value: float, digits: int) -> int:
    if value == 0:
        return 0
    exponent = Decimal(f"{abs(value):.{digits - 1}e}").adjusted()  # of the rounded number: 9.9996 has one more digit
    return min(max(0, digits - 1 - exponent), MAX_DECIMALS)


def _is_whole(value: float) -> bool:
    return value == math.floor(value)


def _write_power(value: float, style: NumberStyle) -> str:
    mantissa, exponent = f"{value:.{style.digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{_punctuate(mantissa, style)}{FIXED}×{FIXED}{write_power_of_ten(int(exponent))}"


def write_power_of_ten(exponent: int) -> str:
    return f"10{str(exponent).translate(SUPERSCRIPTS)}"


def _punctuate(text: str, style: NumberStyle) -> str:
    if text.startswith("-"):
        is_zero = not any(digit in text for digit in "123456789")
        text = text[1:] if is_zero else MINUS + text[1:]
    return text.translate({ord(","): style.thousands, ord("."): style.decimal})


def format_percent(value: float | None, style: NumberStyle = DEFAULT_STYLE, *, trim: bool = False) -> str:
    """Return a percentage without its sign: one decimal, and more where fewer would say 0 or 100.

    >>> format_percent(98.0), format_percent(100.0), format_percent(99.99963), format_percent(0.0004)
    ('98.0', '100', '99.9996', '0.0004')
    """
    if value is None or not math.isfinite(value) or value in WHOLES:
        return format_number(value, style)
    decimals = 1
    while round(value, decimals) in WHOLES and decimals < MAX_DECIMALS:
        decimals += 1
    return format_number(value, style, decimals=decimals, trim=trim)


def format_share(share: float | None, style: NumberStyle = DEFAULT_STYLE, *, trim: bool = False) -> str:
    r"""Return a share of 0..1 as a percentage with its sign.

    >>> format_share(0.985)
    '98.5\xa0%'
    """
    if share is None or math.isnan(share):
        return NOTHING
    return f"{format_percent(PERCENT * share, style, trim=trim)}{FIXED}%"


def format_duration(duration_s: float | None, style: NumberStyle = DEFAULT_STYLE) -> str:
    r"""Return seconds as days, hours, minutes: the two largest parts. [s]

    >>> format_duration(273_600.0), format_duration(3_599.7), format_duration(45.21), format_duration(0.0042)
    ('3\xa0d 4\xa0h', '1\xa0h', '45.21\xa0s', '4.2\xa0ms')
    """
    if duration_s is None or not math.isfinite(duration_s):
        return format_number(duration_s, style)
    sign, length_s = (MINUS if duration_s < 0 else ""), abs(duration_s)
    if length_s < MINUTE_S and round(length_s, 2) < MINUTE_S:
        unit, factor = ("ms", MILLI_S) if 0 < length_s < 1 else ("s", 1.0)
        return f"{sign}{format_number(length_s / factor, style, trim=True)}{FIXED}{unit}"
    major, minor = _find_parts(length_s)
    whole, rest = divmod(round(length_s / minor[1]), major[1] // minor[1])
    if whole * major[1] >= DAY_S and major[1] < DAY_S:  # rounding carried 23 h 59.7 min into the day
        whole, rest, major, minor = whole * major[1] // DAY_S, 0, ("d", DAY_S), ("h", HOUR_S)
    elif whole * major[1] >= HOUR_S and major[1] < HOUR_S:
        whole, rest, major, minor = 1, 0, ("h", HOUR_S), ("min", MINUTE_S)
    parts = [(whole, major[0])] + ([(rest, minor[0])] if rest else [])
    return sign + " ".join(f"{format_number(float(n), style)}{FIXED}{unit}" for n, unit in parts)


def _find_parts(length_s: float) -> tuple[tuple[str, int], tuple[str, int]]:
    if length_s < HOUR_S:
        return ("min", MINUTE_S), ("s", 1)
    if length_s < DAY_S:
        return ("h", HOUR_S), ("min", MINUTE_S)
    return ("d", DAY_S), ("h", HOUR_S)


def format_bare(value: float | None, unit: str, style: NumberStyle = DEFAULT_STYLE, *, trim: bool = False) -> str:
    """Return a value for a column whose head names the unit; a duration carries its own."""
    if unit == "s":
        return format_duration(value, style)
    return format_percent(value, style, trim=trim) if unit == "%" else format_number(value, style, trim=trim)


def format_quantity(value: float | None, unit: str, style: NumberStyle = DEFAULT_STYLE, *, trim: bool = False) -> str:
    r"""Return a value with its unit; seconds as a duration.

    >>> format_quantity(71.5, "degC", trim=True), format_quantity(3.0, "1"), format_quantity(7_380.0, "s")
    ('71.5\xa0°C', '3', '2\xa0h 3\xa0min')
    """
    number = format_bare(value, unit, style, trim=trim)
    shown = "" if unit == "s" or number == NOTHING else show_unit(unit)
    return f"{number}{FIXED}{shown}" if shown else number


# What UCUM-like codes look like on paper; any other text is shown as it is.
_UNIT_SIGNS = {
    "degC": "°C", "degF": "°F", "Cel": "°C", "deg": "°", "um": "µm", "us": "µs", "ohm": "Ω", "m2": "m²", "m3": "m³",
    "m3/h": "m³/h", "m/s2": "m/s²",
}  # fmt: skip


def show_unit(unit: str) -> str:
    """Return a unit as it is printed; counted things have none."""
    return "" if unit in COUNTED_UNITS else _UNIT_SIGNS.get(unit, unit)


def format_difference(
    difference: float | None, percent: float | None, unit: str, style: NumberStyle = DEFAULT_STYLE
) -> str:
    r"""Return how far a value moved: per cent, or percentage points where the value is a percentage itself.

    >>> format_difference(1.4, 1.9, "%"), format_difference(-3.0, -20.0, "degC"), format_difference(2.0, None, "1")
    ('+1.4\xa0pp', '−20.0\xa0%', '+2')
    """
    if difference is None or math.isnan(difference):
        return NOTHING
    if unit == "%":
        return f"{_sign(difference, _write_move(difference, style))}{FIXED}pp"
    if percent is not None and math.isfinite(percent):
        return f"{_sign(percent, _write_move(percent, style))}{FIXED}%"
    return _sign(difference, format_quantity(difference, unit, style, trim=True))


def _write_move(value: float, style: NumberStyle) -> str:
    return format_number(value, style, decimals=1 if abs(value) < PERCENT else 0)


def _sign(value: float, text: str) -> str:
    if not any(digit in text for digit in "123456789"):
        return "±0"  # it moved by less than is shown
    return f"+{text}" if value > 0 else text
