"""Values of templates, and how Go prints them, tests them and names their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from drover.go_template.errors import FunctionFailed
from drover.go_template.json_text import Json, Ordered, json_text
from drover.go_template.numbers import float_text

NO_VALUE = "<no value>"
_NIL = "<nil>"
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Record:
    """A Go struct. `json`: its form if the type prints as JSON."""

    type_name: str
    fields: dict[str, Value]
    json: Json = None
    prints_json: bool = False


class JsonMap(dict[str, "Value"]):
    """A map that prints as JSON."""


class JsonList(list["Value"]):
    """A list that prints as JSON. An empty one is Go's nil slice."""


class NilList(list["Value"]):
    """Go's nil slice: an empty list that is `null` in JSON."""


class TypeNames(list["Value"]):
    """JSON Schema's `type`: a single one prints as its name."""


Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | Record | None"


def is_true(value: Value) -> bool:
    """The truth value for `if`: zero, empty and nil are false."""
    return isinstance(value, Record) or bool(value)


def text_of(value: Value, depth: int = 0) -> str:
    """The value as Go's %v writes it. Raises FunctionFailed if it is nested too deeply."""
    if depth > _DEEPEST:
        raise FunctionFailed("a value is nested too deeply to be printed")
    match value:
        case str():
            return value
        case None:
            return _NIL
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return float_text(value)
        case JsonMap() | JsonList():
            return json_text(plain(value))
        case TypeNames() if len(value) < 2:
            return text_of(value[0], depth + 1) if value else ""
        case list():
            return f"[{' '.join(text_of(each, depth + 1) for each in value)}]"
        case dict():
            pairs = (f"{key}:{text_of(value[key], depth + 1)}" for key in sorted(value))
            return f"map[{' '.join(pairs)}]"
        case Record(prints_json=True):
            return json_text(value.json)
        case Record():
            return f"{{{' '.join(text_of(each, depth + 1) for each in value.fields.values())}}}"


def plain(value: Value) -> Json:
    """The value as encoding/json sees it."""
    match value:
        case Record(prints_json=True):
            return value.json
        case Record():
            return Ordered({name: plain(each) for name, each in value.fields.items()})
        case NilList() | JsonList() if not value:
            return None
        case TypeNames() if len(value) == 1:
            return plain(value[0])
        case list():
            return [plain(each) for each in value]
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case _:
            return value


def type_name(value: Value) -> str:
    """The name of the value's type in Go."""
    match value:
        case None:
            return _NIL
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case dict():
            return "map[string]interface {}"
        case Record():
            return value.type_name
