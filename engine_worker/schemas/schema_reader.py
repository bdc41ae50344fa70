"""Reads a JSON schema's text within bounds, and the values of its keywords.

The readers of keywords raise ConstraintRejected with the keyword and the value that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from drover.errors import ConstraintRejected

Json = object
JsonObject = dict[str, object]

# The largest generated schemas have some 10,000 characters per class.
MAX_CHARACTERS = 512 * 1024
# Python's stack: simplifying takes several frames per level.
MAX_DEPTH = 200
# Larger than a 64-bit float's exponents; Python allocates one digit per power of ten.
_MAX_EXPONENT = 1000
_STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', re.DOTALL)


def read_schema(text: str, what: str = "the JSON schema") -> Json:
    """Parse a schema, or `what` errors name. Numbers with a fraction or an exponent are exact Decimals.

    Raises ConstraintRejected for text that is not JSON, or too large, or nested too deep.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConstraintRejected(
            f"{what} is too large: it has {len(text)} characters, at most {MAX_CHARACTERS} are possible"
        )
    if (depth := _depth(text)) > MAX_DEPTH:
        raise ConstraintRejected(
            f"{what} is nested too deep: {depth} brackets, at most {MAX_DEPTH} are possible"
        )
    try:
        return json.loads(text, parse_float=_decimal, parse_constant=_no_number)
    except ValueError as error:
        raise ConstraintRejected(f"{what} is not JSON: {error}") from error


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise _out_of_range(text) from None
    if value and abs(value.adjusted()) > _MAX_EXPONENT:
        raise _out_of_range(text)
    return value


def _out_of_range(text: str) -> ConstraintRejected:
    return ConstraintRejected(
        f"the JSON schema has the number {text[:40]}, which is too large or too small: exponents from "
        f"-{_MAX_EXPONENT} to {_MAX_EXPONENT} are possible"
    )


def _no_number(name: str) -> Json:
    raise ValueError(f"{name} is not a number in JSON")


def _depth(text: str) -> int:
    depth = deepest = 0
    for token in _STRINGS_AND_BRACKETS.finditer(text):
        if token[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "]}":
            depth -= 1
    return deepest


_MAX_SHOWN = 80
# Characters or items: no answer has so many. A larger maximum has no effect, a larger minimum no answer.
MAX_COUNT = 1_000_000


def refuse(reason: str) -> NoReturn:
    """Raises ConstraintRejected."""
    raise ConstraintRejected(f"the JSON schema is malformed: {reason}")


def mapping(keyword: str, value: object) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    refuse(f"`{keyword}` must be an object, not {shown(value)}")


def listed(keyword: str, value: object) -> list[object]:
    if isinstance(value, list):
        return value
    refuse(f"`{keyword}` must be a list, not {shown(value)}")


def texts(keyword: str, value: object) -> list[str]:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    refuse(f"`{keyword}` must be a list of strings, not {shown(value)}")


def number(value: object) -> Decimal | None:
    """None if the value is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    return Decimal(value)


def count(value: object) -> int | None:
    """None if the value is not a natural number; `3.0` is one."""
    whole = number(value)
    if whole is None or whole < 0 or whole != whole.to_integral_value():
        return None
    return int(whole)


def shown(value: object) -> str:
    """The value as JSON, cut for an error message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
