"""A simple schema for what holds at one place: one piece for each type that a value may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol

from engine_worker.schemas import malformed
from engine_worker.schemas.merged import Merged
from engine_worker.schemas.multiples import Endings, decimal_of, listed_multiples, step_of
from engine_worker.schemas.numbers import BEYOND_ALL
from engine_worker.schemas.objects import object_piece
from engine_worker.schemas.strings import string_piece
from engine_worker.schemas.values import obeying_values

Schema = dict[str, object]
# More digits than any number has that a program computes with; each of them costs a grammar something.
_MOST_DIGITS = 40


class AllOf(Protocol):
    def __call__(self, parts: Sequence[object]) -> Schema | None: ...


Inline = Callable[[Schema], Schema]
Drop = Callable[[str], None]


class Pieces:
    """`inline` puts a simple schema in the place of a reference to it."""

    def __init__(self, all_of: AllOf, inline: Inline, drop: Drop) -> None:
        self._all_of = all_of
        self._inline = inline
        self._drop = drop

    def of(self, merged: Merged) -> Schema | None:
        """None where no value is possible."""
        if merged.values is not None:
            values = obeying_values(merged, merged.values, self._drop)
            return {"enum": values} if values else None
        if merged.types is None:
            return {}
        options = [self._of_type(name, merged) for name in merged.types]
        possible = [option for option in options if option is not None]
        if not possible:
            return None
        return possible[0] if len(possible) == 1 else {"anyOf": possible}

    def _of_type(self, name: str, merged: Merged) -> Schema | None:
        match name:
            case "object":
                return object_piece(merged, self._all_of, self._inline, self._drop)
            case "array":
                return self._array(merged)
            case "string":
                return string_piece(merged, self._drop)
            case "number" | "integer":
                return self._number(name, merged)
            case _:
                return {"type": name}

    def _array(self, merged: Merged) -> Schema | None:
        """As in Ollama's grammar, `prefixItems` means all of them and, if nothing is said of others, no
        others.
        """
        tuples = [_tuple_of(schema) for schema in merged.each()]
        rests = [rest for _, rest in tuples if rest is not None]
        length = max((len(prefix) for prefix, _ in tuples), default=0)
        least = max(self._counts("minItems", merged), default=length)
        most = min(self._counts("maxItems", merged), default=None)
        others = self._all_of(rests) if rests or not length else None
        items: list[Schema] = []
        for index in range(length):
            parts = [prefix[index] if index < len(prefix) else _or_true(rest) for prefix, rest in tuples]
            if (item := self._all_of(parts)) is None:
                others = None
                break
            items.append(item)
        if others is None:
            most = len(items) if most is None else min(most, len(items))
        if (most is not None and least > most) or least > malformed.MOST_COUNTED:
            return None
        piece: Schema = {"type": "array", "minItems": least}
        if items:
            piece["prefixItems"] = items
        piece["items"] = False if others is None else others
        return piece if most is None else {**piece, "maxItems": most}

    def _counts(self, keyword: str, merged: Merged) -> list[int]:
        counts = [malformed.count(value) for value in merged.all(keyword)]
        if None in counts:
            self._drop(keyword)
        return [count for count in counts if count is not None]

    def _number(self, name: str, merged: Merged) -> Schema | None:
        piece: Schema = {"type": name}
        low = self._bounds("minimum", "exclusiveMinimum", merged)
        high = self._bounds("maximum", "exclusiveMaximum", merged)
        if low:
            value, is_open = max(low)
            piece["exclusiveMinimum" if is_open else "minimum"] = value
        if high:
            value, is_open = min(high, key=lambda bound: (bound[0], not bound[1]))
            piece["exclusiveMaximum" if is_open else "maximum"] = value
        if low and high and max(low)[0] > value:
            return None
        factors = merged.all("multipleOf")
        if not factors:
            return piece
        step = step_of(factors, name == "integer")
        if step is None:
            self._drop("multipleOf")
            return piece
        if step == 1:
            return {**piece, "type": "integer"}
        if low and high:
            least, most = max(low), (value, is_open)
            if (multiples := listed_multiples(step, least, most)) is not None:
                return {"enum": multiples} if multiples else None
        if Endings.of(step) is not None:
            return {**piece, "multipleOf": decimal_of(step)}
        self._drop("multipleOf")
        return piece

    def _bounds(self, closed: str, opened: str, merged: Merged) -> list[tuple[Decimal, bool]]:
        """Each with whether it is left out itself. `exclusiveMinimum: true` is an older way to say that."""
        bounds: list[tuple[Decimal, bool]] = []
        for schema in merged.each():
            is_open = schema.get(opened)
            for keyword in (closed, opened):
                if keyword not in schema or isinstance(schema[keyword], bool):
                    continue
                value = malformed.number(schema[keyword])
                if value is not None and abs(value) >= BEYOND_ALL and (value < 0) is (closed == "minimum"):
                    continue
                if value is None or _digits(value) > _MOST_DIGITS:
                    self._drop(keyword)
                else:
                    bounds.append((value, keyword == opened or is_open is True))
        return bounds


def _digits(value: Decimal) -> int:
    """Of the number written without an exponent."""
    _, digits, exponent = value.as_tuple()
    return len(digits) + abs(exponent) if isinstance(exponent, int) else _MOST_DIGITS + 1


def _tuple_of(schema: Schema) -> tuple[list[object], object]:
    """The first items, and what holds for the rest; None: nothing is said of them."""
    rest: object = schema.get("unevaluatedItems")
    if isinstance(items := schema.get("items"), list):
        # As it was written before `prefixItems`.
        return items, schema.get("additionalItems", rest)
    prefix = malformed.listed("prefixItems", schema.get("prefixItems", []))
    return prefix, schema.get("items", rest)


def _or_true(rest: object) -> object:
    return True if rest is None else rest
