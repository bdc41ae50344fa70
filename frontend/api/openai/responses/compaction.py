"""The compaction item: a summary in place of the conversation before it.

Its content is JSON that clients send back unchanged. It has the form of Ollama's item, so that a session may
move between both servers: `{"type": "ollama_compaction", "version": 1, "summary", "retained"}`, where
`retained` are messages as in /api/chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.core.go_json import dump_text
from frontend.api.core.request import Message, ToolCall, read_messages
from frontend.api.core.typed_fields import FieldPath

TRIGGER = "compaction_trigger"
# The second is Codex's other name of the same item.
KINDS = ("compaction", "compaction_summary")
_PAYLOAD_TYPE = "ollama_compaction"
_VERSION = 1
_FIELDS = {"type", "version", "summary", "retained"}
_BEFORE_SUMMARY = "The conversation before this point was replaced by this summary of it:\n\n"


@dataclass(frozen=True, slots=True)
class Compaction:
    """`retained`: messages that the summary does not cover, such as calls without a result."""

    summary: str
    retained: Sequence[Message] = field(default_factory=list)

    @classmethod
    def read(cls, content: str, where: str) -> Compaction:
        """Read an item's `encrypted_content`. Raises InvalidRequest for what another server made."""
        payload = _object(content)
        if payload is None or not payload.keys() <= _FIELDS:
            raise InvalidRequest(
                f"{where}: unsupported compaction item: encrypted_content is not an Ollama payload; only the "
                "server that made it can read it, so send the conversation itself"
            )
        if (payload.get("type"), payload.get("version")) != (_PAYLOAD_TYPE, _VERSION):
            raise InvalidRequest(
                f"{where}: unsupported Ollama compaction payload type or version: this server reads "
                f"{_PAYLOAD_TYPE} {_VERSION}"
            )
        summary = payload.get("summary")
        if not isinstance(summary, str) or not summary.strip():
            raise InvalidRequest(f"{where}: Ollama compaction payload has an empty summary")
        retained = payload.get("retained")
        place = FieldPath("ResponsesCompactionItem", "retained")
        return cls(summary, [] if retained is None else read_messages(retained, place))

    def messages(self) -> list[Message]:
        """The messages that replace the item in a conversation."""
        return [Message(role="user", content=f"{_BEFORE_SUMMARY}{self.summary}"), *self.retained]

    def content(self) -> str:
        """The item's `encrypted_content`."""
        payload: dict[str, Json] = {
            "type": _PAYLOAD_TYPE,
            "version": _VERSION,
            "summary": self.summary,
            "retained": [_native(message) for message in self.retained],
        }
        return dump_text(payload)

    def item(self, item_id: str) -> dict[str, Json]:
        return {"id": item_id, "type": KINDS[0], "encrypted_content": self.content()}


def without_trigger(value: Json) -> tuple[Json, bool]:
    """The input without the trigger at its end, and whether it had one."""
    match value:
        case [*items, {"type": str(kind)}] if kind == TRIGGER:
            return items, True
        case _:
            return value, False


def misplaced_trigger(where: str) -> InvalidRequest:
    """The error for a trigger that is not the last item."""
    return InvalidRequest(f"{where}: {TRIGGER} must be the final and only compaction trigger")


def empty_compaction() -> InvalidRequest:
    """The error where there is no conversation to compact."""
    return InvalidRequest("compaction input is empty")


def _object(content: str) -> dict[str, Json] | None:
    try:
        value: Json = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _native(message: Message) -> dict[str, Json]:
    """The message as in /api/chat, without images: they would make the item as large as what it replaces."""
    native: dict[str, Json] = {"role": message.role, "content": message.content}
    if message.thinking:
        native["thinking"] = message.thinking
    if message.tool_calls:
        native["tool_calls"] = [_native_call(call) for call in message.tool_calls]
    if message.tool_name:
        native["tool_name"] = message.tool_name
    if message.tool_call_id:
        native["tool_call_id"] = message.tool_call_id
    return native


def _native_call(call: ToolCall) -> Json:
    """Arguments that were cut off are left out: the field is an object."""
    arguments = _object(call.arguments_json) or {}
    return {"id": call.id, "function": {"name": call.name, "arguments": arguments}}
