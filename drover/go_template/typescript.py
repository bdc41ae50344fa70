"""Ollama's toTypeScriptType: a tool property's type in TypeScript."""

from __future__ import annotations

from drover.go_template.errors import FunctionFailed
from drover.go_template.values import Record, Value

PROPERTY = "api.ToolProperty"
_NAMES = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}
_DEEPEST = 100


def typescript_type(value: Value, depth: int = 0) -> str:
    """The type's text. Raises FunctionFailed for a property nested too deeply."""
    if depth > _DEEPEST:
        raise FunctionFailed("a property is nested too deeply")
    if not isinstance(value, Record) or value.type_name != PROPERTY:
        return "any"
    choices, types = value.fields["AnyOf"], value.fields["Type"]
    if isinstance(choices, list) and choices:
        return " | ".join(typescript_type(each, depth + 1) for each in choices)
    if isinstance(types, list) and types:
        return " | ".join(_NAMES.get(str(each), "any") for each in types)
    return "any"
