"""JSON as Go's encoding/json writes it: sorted keys, and HTML characters escaped."""

from __future__ import annotations

import re

import orjson

from drover.go_template.errors import FunctionFailed, TemplateError
from drover.go_template.numbers import float_json
from drover.json_value import Json as Json

_DEEPEST = 100
_ESCAPED = re.compile(r'[\x00-\x1f"\\<>&\u2028\u2029\ud800-\udfff]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


class Ordered(dict[str, Json]):
    """An object whose keys stay in their order, as those of Go's structs."""


def read_object(text: str, what: str) -> dict[str, Json]:
    """Parse a JSON object; empty text is an empty object. `what`: names the text in the TemplateError."""
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise TemplateError(f"{what} are not JSON: {error}") from error
    if not isinstance(value, dict):
        raise TemplateError(f"{what} are not a JSON object")
    return value


def json_text(value: Json, depth: int = 0) -> str:
    """The value as JSON. Raises FunctionFailed if it is nested too deeply."""
    if depth > _DEEPEST:
        raise FunctionFailed("a value is nested too deeply for JSON")
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return float_json(value)
        case str():
            return _string(value)
        case list():
            return f"[{','.join(json_text(each, depth + 1) for each in value)}]"
        case dict():
            keys = value if isinstance(value, Ordered) else sorted(value)
            members = (f"{_string(key)}:{json_text(value[key], depth + 1)}" for key in keys)
            return f"{{{','.join(members)}}}"


def _string(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    if character in _SHORT:
        return _SHORT[character]
    return "\\ufffd" if "\ud800" <= character <= "\udfff" else f"\\u{ord(character):04x}"
