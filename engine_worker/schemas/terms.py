"""Terms: the expressions that grammar rules and patterns are made of.

`Chars` is a set of characters for one position; `Terminal` marks a part that a lexer may read as one token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LAST_CHARACTER = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)

Range = tuple[int, int]


def _without_surrogates(ranges: Iterable[Range]) -> list[Range]:
    first, last = _SURROGATES
    parts = []
    for low, high in ranges:
        parts += [(low, min(high, first - 1)), (max(low, last + 1), high)]
    return sorted((low, high) for low, high in parts if low <= high)


def _merged(ranges: Iterable[Range]) -> Iterable[Range]:
    begin, end = -1, -2
    for low, high in ranges:
        if low > end + 1:
            if begin >= 0:
                yield begin, end
            begin, end = low, high
        else:
            end = max(end, high)
    if begin >= 0:
        yield begin, end


@dataclass(frozen=True, slots=True)
class Chars:
    """Ranges of code points, sorted, disjoint, not adjacent, without surrogates."""

    ranges: tuple[Range, ...]

    @classmethod
    def of(cls, ranges: Iterable[Range]) -> Chars:
        return cls(tuple(_merged(_without_surrogates(ranges))))

    @classmethod
    def text(cls, characters: str) -> Chars:
        return cls.of((ord(each), ord(each)) for each in characters)

    def __contains__(self, code: int) -> bool:
        return any(low <= code <= high for low, high in self.ranges)

    def complement(self) -> Chars:
        gaps, begin = [], 0
        for low, high in self.ranges:
            gaps.append((begin, low - 1))
            begin = high + 1
        return Chars.of([*gaps, (begin, LAST_CHARACTER)])

    def minus(self, other: Chars) -> Chars:
        return Chars.of((*self.complement().ranges, *other.ranges)).complement()

    def both(self, other: Chars) -> Chars:
        return self.minus(other.complement())


@dataclass(frozen=True, slots=True)
class Sequence:
    parts: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Alternatives. Without options nothing matches."""

    options: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`most` None: unbounded."""

    part: Term
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to a rule of the grammar."""

    name: str


@dataclass(frozen=True, slots=True)
class Terminal:
    part: Term


Term = Chars | Sequence | Choice | Repeat | Ref | Terminal

ANY = Chars.of([(0, LAST_CHARACTER)])
EMPTY = Sequence(())
NOTHING = Choice(())


def sequence(*parts: Term) -> Term:
    """A flat Sequence without empty parts; NOTHING if a part is NOTHING."""
    flat: list[Term] = []
    for part in parts:
        if part == NOTHING:
            return NOTHING
        flat.extend(part.parts if isinstance(part, Sequence) else (part,))
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def choice(*options: Term) -> Term:
    """A flat Choice without duplicates and without options that match nothing."""
    flat: dict[Term, None] = {}
    for option in options:
        flat |= dict.fromkeys(option.options if isinstance(option, Choice) else (option,))
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(flat))


def optional(part: Term) -> Term:
    return EMPTY if part == NOTHING else Repeat(part, 0, 1)


def repeat(part: Term, least: int = 0, most: int | None = None) -> Term:
    if most == 0:
        return EMPTY
    if part == NOTHING:
        return NOTHING if least else EMPTY
    return part if (least, most) == (1, 1) else Repeat(part, least, most)


def text(characters: str) -> Term:
    return sequence(*(Chars(((ord(each), ord(each)),)) for each in characters))


def renamed(term: Term, names: Mapping[str, str]) -> Term:
    """The term with rules renamed; names that `names` does not have stay."""
    match term:
        case Ref(name):
            return Ref(names.get(name, name))
        case Sequence(parts):
            return Sequence(tuple(renamed(part, names) for part in parts))
        case Choice(options):
            return Choice(tuple(renamed(option, names) for option in options))
        case Repeat(part, least, most):
            return Repeat(renamed(part, names), least, most)
        case _:
            return term


def literal_of(term: Term) -> str | None:
    """The only text that a term matches; None if it matches several texts, or the empty one."""
    match term:
        case Chars(((low, high),)) if low == high:
            return chr(low)
        case Sequence(parts) if parts:
            texts = [literal_of(part) for part in parts]
            known = [text for text in texts if text is not None]
            return "".join(known) if len(known) == len(texts) else None
        case _:
            return None
