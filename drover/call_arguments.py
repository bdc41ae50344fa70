"""The arguments of a tool call in a conversation, as the object that chat templates walk through.

Clients send back what a model wrote: JSON that was cut off, JSON within a JSON string, or plain text. A
template that cannot read it would make the whole conversation unusable.
"""

from __future__ import annotations

import orjson

from drover.json_value import Json

# The member that Anthropic's documentation recommends for arguments that are no JSON object.
TEXT_MEMBER = "INVALID_JSON"
# Fewer levels than any engine's template code gives up at.
_MAX_DEPTH = 64


def call_arguments(text: str) -> dict[str, Json]:
    """Empty text is an empty object; what is no JSON object, or too deep a one, is kept as text."""
    value = _parsed(text.strip() or "{}")
    if isinstance(value, str):
        value = _parsed(value)
    if not isinstance(value, dict) or _is_deep(value):
        return {TEXT_MEMBER: text}
    return value


def call_arguments_json(text: str) -> str:
    """The text itself where it is fit to be parsed."""
    if isinstance(_parsed(text), dict) and not _may_be_deep(text):
        return text
    return orjson.dumps(call_arguments(text)).decode()


def _parsed(text: str) -> Json:
    """None for what is no JSON."""
    try:
        value: Json = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value


def _may_be_deep(text: str) -> bool:
    return text.count("{") + text.count("[") > _MAX_DEPTH


def _is_deep(value: Json) -> bool:
    level: list[Json] = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
