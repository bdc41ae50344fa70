"""Arguments of a tool call in a conversation, as the object that chat templates expect.

Clients send back what a model produced: truncated JSON, JSON within a JSON string, or plain text. A template
that cannot read it would make the whole conversation unusable.
"""

from __future__ import annotations

import orjson

from drover.json_value import Json

# The key that Anthropic's documentation recommends for arguments that are not a JSON object.
TEXT_MEMBER = "INVALID_JSON"
# Below the nesting limit of every engine's template code.
_MAX_DEPTH = 64


def call_arguments(text: str) -> dict[str, Json]:
    """Parse arguments. Empty text is an empty object; anything but a JSON object, or one nested too deeply,
    is kept as text under TEXT_MEMBER.
    """
    value = _parsed(text.strip() or "{}")
    if isinstance(value, str):
        value = _parsed(value)
    if not isinstance(value, dict) or _is_deep(value):
        return {TEXT_MEMBER: text}
    return value


def call_arguments_json(text: str) -> str:
    """Arguments as JSON: the text itself if it is a JSON object, else what `call_arguments` makes of it."""
    if isinstance(_parsed(text), dict) and not _may_be_deep(text):
        return text
    return orjson.dumps(call_arguments(text)).decode()


def _parsed(text: str) -> Json:
    """None if it is not JSON."""
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
