"""Simplifies merged schemas type by type: one simple schema for each type that a value may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol

from engine_worker.schemas import schema_reader
from engine_worker.schemas.merged import MergedSchema, allowed_values
from engine_worker.schemas.multiples import LastDigits, decimal_of, listed_multiples, step_of
from engine_worker.schemas.numbers import BEYOND_ALL
from engine_worker.schemas.simplify_objects import simplify_object
from engine_worker.schemas.simplify_strings import simplify_string

Schema = dict[str, object]
# Digits of a bound: each one adds to the grammar, and no program computes with more.
_MAX_DIGITS = 40


class AllOf(Protocol):
    def __call__(self, parts: Sequence[object]) -> Schema | None: ...


Inline = Callable[[Schema], Schema]
Drop = Callable[[str], None]


class TypeSimplifier:
    """`all_of` simplifies the schemas of a part; `inline` replaces a reference by the simple schema that it
    names; `drop` reports a keyword that is not kept.
    """

    def __init__(self, all_of: AllOf, inline: Inline, drop: Drop) -> None:
        self._all_of = all_of
        self._inline = inline
        self._drop = drop

    def of(self, merged: MergedSchema) -> Schema | None:
        """A simple schema; None if no value is possible."""
        if merged.values is not None:
            values = allowed_values(merged, merged.values, self._drop)
            return {"enum": values} if values else None
        if merged.types is None:
            return {}
        options = [self._of_type(name, merged) for name in merged.types]
        possible = [option for option in options if option is not None]
        if not possible:
            return None
        return possible[0] if len(possible) == 1 else {"anyOf": possible}

    def _of_type(self, name: str, merged: MergedSchema) -> Schema | None:
        match name:
            case "object":
                return simplify_object(merged, self._all_of, self._inline, self._drop)
            case "array":
                return self._array(merged)
            case "string":
                return simplify_string(merged, self._drop)
            case "number" | "integer":
                return self._number(name, merged)
            case _:
                return {"type": name}

    def _array(self, merged: MergedSchema) -> Schema | None:
        """As in Ollama's grammar, all items of `prefixItems` are required, and no others are allowed unless
        the schema describes them.
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
        if (most is not None and least > most) or least > schema_reader.MAX_COUNT:
            return None
        piece: Schema = {"type": "array", "minItems": least}
        if items:
            piece["prefixItems"] = items
        piece["items"] = False if others is None else others
        return piece if most is None else {**piece, "maxItems": most}

    def _counts(self, keyword: str, merged: MergedSchema) -> list[int]:
        counts = [schema_reader.count(value) for value in merged.all(keyword)]
        if None in counts:
            self._drop(keyword)
        return [count for count in counts if count is not None]

    def _number(self, name: str, merged: MergedSchema) -> Schema | None:
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
        if LastDigits.of(step) is not None:
            return {**piece, "multipleOf": decimal_of(step)}
        self._drop("multipleOf")
        return piece

    def _bounds(self, closed: str, opened: str, merged: MergedSchema) -> list[tuple[Decimal, bool]]:
        """Bounds, each with whether it is exclusive. `exclusiveMinimum: true` is the form of older drafts."""
        bounds: list[tuple[Decimal, bool]] = []
        for schema in merged.each():
            is_open = schema.get(opened)
            for keyword in (closed, opened):
                if keyword not in schema or isinstance(schema[keyword], bool):
                    continue
                value = schema_reader.number(schema[keyword])
                if value is not None and abs(value) >= BEYOND_ALL and (value < 0) is (closed == "minimum"):
                    continue
                if value is None or _digits(value) > _MAX_DIGITS:
                    self._drop(keyword)
                else:
                    bounds.append((value, keyword == opened or is_open is True))
        return bounds


def _digits(value: Decimal) -> int:
    """Number of digits when written without an exponent."""
    _, digits, exponent = value.as_tuple()
    return len(digits) + abs(exponent) if isinstance(exponent, int) else _MAX_DIGITS + 1


def _tuple_of(schema: Schema) -> tuple[list[object], object]:
    """The schemas of the first items, and that of the rest; None if there is none."""
    rest: object = schema.get("unevaluatedItems")
    if isinstance(items := schema.get("items"), list):
        # The form of drafts before `prefixItems`.
        return items, schema.get("additionalItems", rest)
    prefix = schema_reader.listed("prefixItems", schema.get("prefixItems", []))
    return prefix, schema.get("items", rest)


def _or_true(rest: object) -> object:
    return True if rest is None else rest
