"""Unit algebra: a unit is a product of symbols with exponents. Only time and ratios are known; all else is opaque.

`kWh/part`, `m3/h`, `m.s^-2`, `µg/m³` and `°C` are read; operators are worked off from left to right, as in UCUM. A text
that is not a product of symbols ("3 pieces each") is one symbol as a whole: units are free text, and no text of a
metric can stop a report.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

SECONDS: Mapping[str, Fraction] = {
    "us": Fraction(1, 1_000_000),
    "ms": Fraction(1, 1_000),
    "s": Fraction(1),
    "min": Fraction(60),
    "h": Fraction(3_600),
    "d": Fraction(86_400),
}
RATIOS: Mapping[str, Fraction] = {"1": Fraction(1), "%": Fraction(1, 100), "ppm": Fraction(1, 1_000_000)}
GREEK_MU, MICRO_SIGN = "\u03bc", "\u00b5"  # both are typed for micro
MICROSECOND = f"{MICRO_SIGN}s"

OWN = "U"  # stands for the unit of the metric that a KPI is about
OWN_SYMBOL = "\0U"  # what OWN is read as: no text of a unit holds it, while U is a unit of enzymes
MAX_SYMBOLS = 16
MAX_EXPONENT = 9
WIDEST_FACTOR = 10**60  # no conversion between real units comes near; a float holds any of them

PIECE = re.compile(r"\s*(?P<operator>[/.*·⋅()])\s*|(?P<term>[^/.*·⋅()]+)")
TERM = re.compile(
    r"(?P<symbol>.*[^\d\s^+\-⁻⁰¹²³⁴⁵⁶⁷⁸⁹])(?:\^?(?P<exponent>[+-]?[0-9]{1,2})|(?P<raised>⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}))?"
)
LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@dataclass(frozen=True, slots=True)
class Unit:
    """A product of symbols.

    Args:
        powers: (symbol, exponent) sorted by symbol, without zeros; time is always `s`, ratios have no symbol.
        factor: How many `s^n` or parts of 1 one of this unit is: 3600 for `h`, 1/100 for `%`.
    """

    powers: tuple[tuple[str, Fraction], ...] = ()
    factor: Fraction = Fraction(1)

    def __mul__(self, other: "Unit") -> "Unit":
        """Return the unit of a product."""
        exponents = dict(self.powers)
        for symbol, exponent in other.powers:
            exponents[symbol] = exponents.get(symbol, Fraction(0)) + exponent
        return Unit(_sorted(exponents), self.factor * other.factor)

    def __truediv__(self, other: "Unit") -> "Unit":
        """Return the unit of a quotient."""
        return self * other.raised(-1)

    def raised(self, exponent: int) -> "Unit":
        """Return the unit of a power."""
        return Unit(tuple((symbol, one * exponent) for symbol, one in self.powers if exponent), self.factor**exponent)

    def root(self) -> "Unit":
        """Return the unit of a square root; the factor must be 1 (see `without_factor`)."""
        return Unit(tuple((symbol, one / 2) for symbol, one in self.powers))

    def without_factor(self) -> "Unit":
        """Return the unit in seconds and plain ratios that this one can be converted to."""
        return Unit(self.powers)

    @property
    def is_extreme(self) -> bool:
        """Tell whether no real unit is so large or small: numbers would not survive the conversion."""
        return not Fraction(1, WIDEST_FACTOR) <= self.factor <= WIDEST_FACTOR

    def exponent_of(self, symbol: str) -> Fraction:
        """Return the exponent of a symbol, 0 where it does not appear."""
        return dict(self.powers).get(symbol, Fraction(0))

    def replaced(self, symbol: str, unit: "Unit") -> "Unit":
        """Return the unit with another one for a symbol, which must have a whole exponent."""
        exponent = self.exponent_of(symbol)
        rest = Unit(tuple(one for one in self.powers if one[0] != symbol), self.factor)
        return rest * unit.raised(int(exponent)) if exponent else self

    def __str__(self) -> str:
        """Return a text for people, such as `U/s`; `parse_unit` reads it, but for roots."""
        powers, prefix = dict(self.powers), ""
        name = _find_name(self.factor, powers.get("s", Fraction(0)))
        if name is None:
            prefix = f"{float(self.factor):g} "
        elif name in RATIOS and name != "1":
            powers = {name: Fraction(1)} | powers
        elif name in SECONDS:
            powers = {name if symbol == "s" else symbol: exponent for symbol, exponent in self.powers}
        above = [_spell(symbol, exponent) for symbol, exponent in powers.items() if exponent > 0]
        below = [_spell(symbol, -exponent) for symbol, exponent in powers.items() if exponent < 0]
        return prefix + (".".join(above) or "1") + "".join(f"/{one}" for one in below)


ONE = Unit()


def parse_unit(text: str, *, own: bool = False) -> Unit:
    """Return the unit that a text names; an empty text is 1.

    Args:
        text: As metrics and KPIs spell it.
        own: Whether `U` stands for the unit of the metric.

    >>> str(parse_unit("kWh/part")), str(parse_unit("kWh / (part.h)")), str(parse_unit("m³/h"))
    ('kWh/part', 'kWh/part/h', 'm3/h')
    >>> parse_unit("min") == parse_unit("1/(1/min)"), parse_unit("%").factor
    (True, Fraction(1, 100))
    """
    spelled = unicodedata.normalize("NFC", text).strip().replace(GREEK_MU, MICRO_SIGN)
    if not spelled:
        return ONE
    found = _parse_product(list(_split(spelled)), own=own)
    return Unit(((spelled, Fraction(1)),)) if found is None or found.is_extreme else found


def show_unit(text: str, metric_unit: str) -> str:
    """Return the unit text of a KPI for one metric: its own for `U`.

    >>> show_unit("U", "degC"), show_unit("U/s", ""), show_unit("1/U", "m3/h")
    ('degC', '1/s', '1/(m3/h)')
    """
    if text == OWN:
        return metric_unit
    own = metric_unit or "1"
    is_product = re.search(r"[/.*·⋅\s]", own) is not None
    pieces: list[str] = []
    for kind, piece in _split(text):
        exponent = piece.removeprefix(OWN)
        if kind == "term" and piece.startswith(OWN) and not exponent.strip("0123456789^-⁻⁰¹²³⁴⁵⁶⁷⁸⁹"):
            needs_brackets = is_product and (exponent or pieces)
            pieces.append((f"({own})" if needs_brackets else own) + exponent)
        else:
            pieces.append(piece)
    return "".join(pieces)


def _split(text: str) -> Iterator[tuple[str, str]]:
    for found in PIECE.finditer(text):
        kind = str(found.lastgroup)
        yield kind, found[kind].strip()


def _parse_product(pieces: list[tuple[str, str]], *, own: bool) -> Unit | None:
    """Return the product of pieces, worked off from left to right; None for what is no product."""
    total, below, wants_term = ONE, False, True
    outer: list[tuple[Unit, bool]] = []  # what stands before each open parenthesis
    if pieces[0] == ("operator", "/"):  # UCUM: /min
        pieces = [("term", "1"), *pieces]
    if len(pieces) > 2 * MAX_SYMBOLS:
        return None
    for kind, piece in pieces:
        if piece == "(" and wants_term:
            outer.append((total, below))
            total, below = ONE, False
        elif kind == "term" and wants_term:
            unit = _parse_term(piece, own=own)
            if unit is None:
                return None
            total, wants_term = total / unit if below else total * unit, False
        elif piece == ")" and outer and not wants_term:
            inner = total
            total, below = outer.pop()
            total = total / inner if below else total * inner
        elif kind == "operator" and piece not in "()" and not wants_term:
            below, wants_term = piece == "/", True
        else:
            return None
    return None if outer or wants_term else total


def _parse_term(text: str, *, own: bool) -> Unit | None:
    if text == "1":
        return ONE
    found = TERM.fullmatch(text)
    if found is None:
        return None
    exponent = int(found["exponent"] or (found["raised"] or "1").translate(LOWERED))
    symbol = "us" if found["symbol"] == MICROSECOND else found["symbol"]
    if not exponent or abs(exponent) > MAX_EXPONENT:
        return None
    if symbol in SECONDS:
        unit = Unit((("s", Fraction(1)),), SECONDS[symbol])
    elif symbol in RATIOS:
        unit = Unit((), RATIOS[symbol])
    else:
        unit = Unit(((OWN_SYMBOL if own and symbol == OWN else symbol, Fraction(1)),))
    return unit.raised(exponent)


def _sorted(exponents: Mapping[str, Fraction]) -> tuple[tuple[str, Fraction], ...]:
    return tuple(sorted((symbol, exponent) for symbol, exponent in exponents.items() if exponent))


def _find_name(factor: Fraction, seconds: Fraction) -> str | None:
    """Return the symbol that stands for a factor in a unit with this power of seconds."""
    if seconds not in {1, -1}:
        named = RATIOS
    else:
        named, factor = SECONDS, factor if seconds == 1 else 1 / factor
    return next((name for name, one in named.items() if one == factor), None)


def _spell(symbol: str, exponent: Fraction) -> str:
    name = OWN if symbol == OWN_SYMBOL else symbol
    if exponent == 1:
        return name
    return f"{name}{exponent}" if exponent.denominator == 1 else f"{name}^{float(exponent):g}"
