"""The `input` of a decision as one text: a text as it is, a conversation as a transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json, dump_text
from frontend.api.core.images import decoded_image
from frontend.api.core.request import MAX_MESSAGES, check_count

_ROLES = ("user", "developer", "system", "assistant")
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_TEXT_PARTS = ("input_text", "output_text", "text")
# OpenAI's limits of an input_json part.
_MAX_JSON_LEVELS = 32
_MAX_JSON_VALUES = 10_000
_MAX_JSON_BYTES = 256 * 1024


@dataclass(slots=True)
class State:
    """`images` are those of the marks `[image 1]`, `[image 2]` in the text, counted from `earlier` on."""

    text: str = ""
    images: list[bytes] = field(default_factory=list)
    earlier: int = 0

    @classmethod
    def read(cls, value: Json) -> State:
        """Raises InvalidRequest for an input that is empty or cannot be read."""
        state = cls()
        if isinstance(value, str):
            state.text = value
        elif isinstance(value, list):
            check_count("input", len(value), MAX_MESSAGES)
            state.text = state._transcript(value)
        else:
            raise InvalidRequest("input must be a text or a list of items")
        if not state.text.strip() and not state.images:
            raise InvalidRequest("input must not be empty")
        return state

    def content(self, value: Json, path: str) -> str:
        """Text, or a list of parts, as text. Raises InvalidRequest."""
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise InvalidRequest(f"{path} must be a text or a list of parts")
        return "\n".join(self._part(part, f"{path}[{at}]") for at, part in enumerate(value))

    def _transcript(self, items: list[Json]) -> str:
        calls: dict[str, str] = {}
        turns = [self._item(item, f"input[{at}]", calls) for at, item in enumerate(items)]
        # One user message is the state itself, not a conversation.
        if len(turns) == 1 and turns[0][0] == "user":
            return turns[0][1]
        return "\n\n".join(f"{speaker}: {text}" for speaker, text in turns)

    def _item(self, item: Json, path: str, calls: dict[str, str]) -> tuple[str, str]:
        """The role and the text of an item. `calls`: names of the calls so far, by id."""
        if not isinstance(item, dict):
            raise InvalidRequest(f"{path} must be an object")
        kind = item.get("type", "message")
        if kind == "message":
            role = item.get("role")
            if role not in _ROLES:
                raise InvalidRequest(f"{path}.role must be one of {', '.join(_ROLES)}")
            return str(role), self.content(item.get("content"), f"{path}.content")
        if isinstance(kind, str) and kind in _CALLS:
            name = _text(item, "name", path)
            calls[_text(item, "call_id", path)] = name
            return "assistant", f"{name}({_text(item, _CALLS[kind], path)})"
        if kind in _OUTPUTS:
            name = calls.get(_text(item, "call_id", path), "")
            if not name:
                raise InvalidRequest(f"{path}.call_id is of no call before it")
            return f"result of {name}", self.content(item.get("output"), f"{path}.output")
        raise InvalidRequest(f"{path}.type {dump_text(kind)} is not known here")

    def _part(self, part: Json, path: str) -> str:
        if not isinstance(part, dict):
            raise InvalidRequest(f"{path} must be an object")
        kind = part.get("type")
        if kind in _TEXT_PARTS:
            return _text(part, "text", path)
        if kind == "refusal":
            return _text(part, "refusal", path)
        if kind == "input_image":
            self.images.append(decoded_image(_text(part, "image_url", path)))
            return f"[image {self.earlier + len(self.images)}]"
        if kind == "input_json":
            return _json_text(part.get("data"), path)
        raise InvalidRequest(f"{path}.type {dump_text(kind)} is not known here")


def _text(fields: Mapping[str, Json], name: str, path: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{path}.{name} must be a text")
    return value


def _json_text(value: Json, path: str) -> str:
    """Compact JSON. Raises InvalidRequest beyond OpenAI's limits."""
    level: list[Json] = [value]
    levels = values = 0
    while level:
        levels, values = levels + 1, values + len(level)
        if levels > _MAX_JSON_LEVELS or values > _MAX_JSON_VALUES:
            raise InvalidRequest(
                f"{path}.data may have at most {_MAX_JSON_LEVELS} levels and {_MAX_JSON_VALUES} values"
            )
        level = [inner for outer in level for inner in _values_of(outer)]
    text = dump_text(value)
    if len(text.encode()) > _MAX_JSON_BYTES:
        raise InvalidRequest(f"{path}.data may have at most {_MAX_JSON_BYTES} bytes")
    return text


def _values_of(value: Json) -> list[Json]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
