"""From a schema's text to JSON, as exactly as it is written, and no larger than is affordable."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation

from drover.errors import ConstraintRejected

Json = object
JsonObject = dict[str, object]

# Of schemas that programs write the largest have some ten thousand characters a class.
MAX_CHARACTERS = 512 * 1024
# Python's stack, several frames a level.
MAX_DEPTH = 200
# More than a 64-bit float has. Written out, each ten is a digit, and Python makes them all at once.
_MAX_EXPONENT = 1000
_STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', re.DOTALL)


def read_schema(text: str) -> Json:
    """Numbers with a fraction or an exponent are Decimals, so that nothing of them is lost. Raises
    ConstraintRejected.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConstraintRejected(
            f"the JSON schema is too large: it has {len(text)} characters, at most {MAX_CHARACTERS} are "
            "possible"
        )
    if (depth := _depth(text)) > MAX_DEPTH:
        raise ConstraintRejected(
            f"the JSON schema is nested too deep: {depth} brackets, at most {MAX_DEPTH} are possible"
        )
    try:
        return json.loads(text, parse_float=_decimal, parse_constant=_no_number)
    except ValueError as error:
        raise ConstraintRejected(f"the JSON schema is not JSON: {error}") from error


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise _far_out(text) from None
    if value and abs(value.adjusted()) > _MAX_EXPONENT:
        raise _far_out(text)
    return value


def _far_out(text: str) -> ConstraintRejected:
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
