"""JSON schemas as Ollama means them: an object has the properties that are listed, and no others.

JSON Schema allows more unless `additionalProperties` says otherwise; Ollama's grammar does not (transcript
"chat format schema"), and a small model that may add properties seldom stops.
"""

from __future__ import annotations

from drover.errors import InvalidRequest
from frontend.dialects.ollama.go_json import Json

# What is nested deeper could not be passed on, and Python's stack is not much deeper.
_MAX_DEPTH = 254
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")


def close_objects(schema: Json, depth: int = 0) -> Json:
    """A copy in which objects that list properties are closed, unless they say something about others.

    The parts of `allOf` are left alone: each of them sees the properties of the others too. Raises
    InvalidRequest for what is nested too deep; `depth` is that of this part.
    """
    if depth > _MAX_DEPTH:
        raise InvalidRequest(f"format: nested too deep, at most {_MAX_DEPTH} levels are possible")
    if not isinstance(schema, dict):
        return schema
    closed = dict(schema)
    for key in _MAPS:
        if isinstance(part := closed.get(key), dict):
            closed[key] = {name: close_objects(value, depth + 2) for name, value in part.items()}
    for key in _LISTS:
        if isinstance(part := closed.get(key), list):
            closed[key] = [close_objects(value, depth + 2) for value in part]
    for key in _SINGLE:
        if key in closed:
            closed[key] = close_objects(closed[key], depth + 1)
    if isinstance(closed.get("properties"), dict) and "allOf" not in closed:
        closed.setdefault("additionalProperties", False)
    return closed
