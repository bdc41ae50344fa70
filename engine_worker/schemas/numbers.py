"""Terms for JSON numbers between two bounds, digit by digit, without an exponent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from engine_worker.schemas.terms import (
    EMPTY,
    NOTHING,
    Chars,
    Term,
    Terminal,
    choice,
    optional,
    repeat,
    sequence,
    text,
)

# As in Ollama's grammar: an unbounded number might never end.
_MAX_DIGITS = 16
# Larger than any number that these terms match.
BEYOND_ALL = Decimal("1e120")
_DIGIT = Chars.text("0123456789")
_NOT_ZERO = Chars.text("123456789")
_MINUS, _POINT = text("-"), text(".")
_SIGN = optional(_MINUS)
_POSITIVE = sequence(_NOT_ZERO, repeat(_DIGIT, 0, _MAX_DIGITS - 1))
_WHOLE = choice(text("0"), _POSITIVE)
_FRACTION = sequence(_POINT, repeat(_DIGIT, 1, _MAX_DIGITS))
_EXPONENT = sequence(Chars.text("eE"), optional(Chars.text("+-")), repeat(_DIGIT, 1, 2))
INTEGER = Terminal(sequence(_SIGN, _WHOLE))
NUMBER = Terminal(sequence(_SIGN, _WHOLE, optional(_FRACTION), optional(_EXPONENT)))


@dataclass(frozen=True, slots=True)
class Bounds:
    """`low_open`, `high_open`: the bound is exclusive. None: unbounded."""

    low: Decimal | None = None
    high: Decimal | None = None
    low_open: bool = False
    high_open: bool = False

    @property
    def are_empty(self) -> bool:
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    def mirrored(self) -> Bounds:
        """The bounds of the negated numbers. Exact: unary minus would round to Decimal's 28 digits."""
        return Bounds(
            None if self.high is None else self.high.copy_negate(),
            None if self.low is None else self.low.copy_negate(),
            self.high_open,
            self.low_open,
        )

    def above_zero(self, is_open: bool) -> Bounds:
        if self.low is not None and (self.low > 0 or (self.low == 0 and self.low_open)):
            return self
        return Bounds(Decimal(0), self.high, is_open, self.high_open)


def integers(bounds: Bounds) -> Term:
    if bounds.low is None and bounds.high is None:
        return INTEGER
    low, high = _whole_low(bounds), _whole_high(bounds)
    options: list[Term] = []
    if high is None or high >= 0:
        options.append(naturals(max(0, low) if low is not None else 0, high))
    if low is None or low < 0:
        least = 1 if high is None or high >= 0 else -high
        options.append(sequence(_MINUS, naturals(least, None if low is None else -low)))
    term = choice(*options)
    return NOTHING if term == NOTHING else Terminal(term)


def numbers(bounds: Bounds) -> Term:
    if bounds.low is None and bounds.high is None:
        return NUMBER
    options: list[Term] = []
    if bounds.high is None or bounds.high >= 0:
        options.append(_decimals(bounds.above_zero(is_open=False)))
    if bounds.low is None or bounds.low < 0:
        options.append(sequence(_MINUS, _decimals(bounds.mirrored().above_zero(is_open=True))))
    term = choice(*options)
    return NOTHING if term == NOTHING else Terminal(term)


def _whole_low(bounds: Bounds) -> int | None:
    if bounds.low is None:
        return None
    whole = int(bounds.low.to_integral_value("ROUND_CEILING"))
    return whole + 1 if bounds.low_open and whole == bounds.low else whole


def _whole_high(bounds: Bounds) -> int | None:
    if bounds.high is None:
        return None
    whole = int(bounds.high.to_integral_value("ROUND_FLOOR"))
    return whole - 1 if bounds.high_open and whole == bounds.high else whole


def naturals(low: int, high: int | None) -> Term:
    """Non-negative integers without leading zeros."""
    if high is None and low <= 1:
        return _POSITIVE if low else _WHOLE
    options: list[Term] = []
    least, most = len(str(low)), _MAX_DIGITS if high is None else len(str(high))
    for length in range(least, max(most, least) + 1):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        last = 10**length - 1 if high is None else min(high, 10**length - 1)
        if first <= last:
            options.append(_between(str(first), str(last)))
    return choice(*options)


def _between(low: str, high: str) -> Term:
    """Digit strings from `low` to `high`, which have the same length."""
    if not low:
        return EMPTY
    if low == "0" * len(low) and high == "9" * len(high):
        return repeat(_DIGIT, len(low), len(low))
    first, last, rest = low[0], high[0], len(low) - 1
    if first == last:
        return sequence(text(first), _between(low[1:], high[1:]))
    options = [
        sequence(text(first), _between(low[1:], "9" * rest)),
        sequence(text(last), _between("0" * rest, high[1:])),
    ]
    if ord(last) - ord(first) > 1:
        options.append(sequence(_digits(ord(first) + 1, ord(last) - 1), repeat(_DIGIT, rest, rest)))
    return choice(*options)


def _digits(first: int, last: int) -> Chars:
    return Chars.of([(first, last)])


def _decimals(bounds: Bounds) -> Term:
    """Non-negative decimals. Strictly between the bounds' whole parts any fraction is allowed."""
    if bounds.are_empty:
        return NOTHING
    low, low_fraction = _split(bounds.low or Decimal(0))
    if bounds.high is None:
        at_low = _fraction(low_fraction, None, bounds.low_open, False)
        return choice(
            sequence(text(str(low)), at_low), sequence(naturals(low + 1, None), optional(_FRACTION))
        )
    high, high_fraction = _split(bounds.high)
    if low == high:
        within = _fraction(low_fraction, high_fraction, bounds.low_open, bounds.high_open)
        return sequence(text(str(low)), within)
    options = [
        sequence(text(str(low)), _fraction(low_fraction, None, bounds.low_open, False)),
        sequence(text(str(high)), _fraction("", high_fraction, False, bounds.high_open)),
    ]
    if high - low > 1:
        options.append(sequence(naturals(low + 1, high - 1), optional(_FRACTION)))
    return choice(*options)


def _split(value: Decimal) -> tuple[int, str]:
    whole, _, fraction = format(value, "f").partition(".")
    return int(whole), fraction.rstrip("0")


def _fraction(low: str, high: str | None, low_open: bool, high_open: bool) -> Term:
    """A fraction such as `.5`, or none, between two fractions; `high` None: below 1."""
    digits = _after(low, high, low_open, high_open)
    is_none_within = not low and not low_open and (high is None or bool(high) or not high_open)
    with_point = sequence(_POINT, digits) if digits != NOTHING else NOTHING
    return choice(EMPTY, with_point) if is_none_within else with_point


def _after(low: str, high: str | None, low_open: bool, high_open: bool, first: bool = True) -> Term:
    """One or more digits (or none, unless `first`) whose value as a fraction lies between
    `low` and `high`.
    """
    zeros = _zeros(first)
    if not low and high is None:
        if low_open:
            return sequence(repeat(text("0"), 0, _MAX_DIGITS), _NOT_ZERO, repeat(_DIGIT, 0, _MAX_DIGITS))
        return repeat(_DIGIT, 1 if first else 0, _MAX_DIGITS)
    if not low and high == "":
        return NOTHING if low_open or high_open else zeros
    lowest, highest = int(low[:1] or 0), 9 if high is None else int(high[:1] or 0)
    if lowest > highest:
        return NOTHING
    options: list[Term] = []
    if not first and not low and not low_open:
        options.append(EMPTY)
    if lowest == highest:
        rest = _after(low[1:], None if high is None else high[1:], low_open, high_open, first=False)
        options.append(sequence(text(str(lowest)), rest))
        return choice(*options)
    options += [
        sequence(text(str(lowest)), _after(low[1:], None, low_open, False, first=False)),
        sequence(
            text(str(highest)), _after("", None if high is None else high[1:], False, high_open, first=False)
        ),
    ]
    if highest - lowest > 1:
        between = _digits(ord("0") + lowest + 1, ord("0") + highest - 1)
        options.append(sequence(between, repeat(_DIGIT, 0, _MAX_DIGITS)))
    return choice(*options)


def _zeros(first: bool) -> Term:
    return repeat(text("0"), 1 if first else 0, _MAX_DIGITS)
