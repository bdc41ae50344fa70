"""/v1/messages and /v1/messages/count_tokens: what they answer."""

from __future__ import annotations

from drover.json_value import Json
from frontend.openapi.schemas import Schema, any_of, array, integer, mapping, or_null, ref, struct, text

_REASONS: list[Json] = ["end_turn", "max_tokens", "stop_sequence", "tool_use"]
_INDEX = integer("Which block.", minimum=0)
_TOKENS = integer(minimum=0)
_SIGNATURE = text("Nobody has signed: clients want one, and send it back.")
_USAGE: dict[str, Schema] = {
    "input_tokens": integer("Of the prompt, without those from a cache.", minimum=0),
    "cache_creation_input_tokens": integer(const=0),
    "cache_read_input_tokens": integer("Of the prompt, from the prefix cache.", minimum=0),
    "output_tokens": integer("Of the answer, thinking included.", minimum=0),
}
_THINKING: dict[str, Schema] = {"thinking": text(), "signature": _SIGNATURE}
_TEXT: dict[str, Schema] = {"text": text()}
_CALL: dict[str, Schema] = {"id": text(), "name": text(), "input": mapping({}, "The arguments.")}
_BLOCK = any_of(ref("ThinkingBlock"), ref("TextBlock"), ref("ToolUseBlock"))
_DELTAS = any_of(ref("ThinkingDelta"), ref("SignatureDelta"), ref("TextDelta"), ref("InputJsonDelta"))
_STOP: dict[str, Schema] = {
    "stop_reason": or_null(text("Null while there is more to come.", enum=_REASONS)),
    "stop_sequence": or_null(text("Which of `stop_sequences` it was.")),
}
_MESSAGE: dict[str, Schema] = {
    "id": text(pattern="^msg_[0-9a-f]{24}$"),
    "role": text(const="assistant"),
    "model": text("As it was sent."),
    "content": array(_BLOCK, "In the order in which they were made."),
    **_STOP,
    "usage": ref("AnthropicUsage"),
}
_ERROR: dict[str, Schema] = {
    "error": struct({"type": text(), "message": text()}, ["type", "message"]),
    "request_id": text(pattern="^req_[0-9a-f]{24}$"),
}


def _typed(kind: str, members: dict[str, Schema], about: str = "") -> Schema:
    return struct({"type": text(const=kind), **members}, ["type", *members], about)


SCHEMAS: dict[str, Schema] = {
    "AnthropicAnswer": _typed("message", _MESSAGE),
    "AnthropicUsage": struct(_USAGE, [*_USAGE]),
    "AnthropicError": _typed("error", _ERROR),
    "ThinkingBlock": _typed("thinking", _THINKING),
    "TextBlock": _typed("text", _TEXT),
    "ToolUseBlock": _typed("tool_use", _CALL),
    "ThinkingDelta": _typed("thinking_delta", {"thinking": text()}),
    "SignatureDelta": _typed("signature_delta", {"signature": _SIGNATURE}),
    "TextDelta": _typed("text_delta", _TEXT),
    "InputJsonDelta": _typed("input_json_delta", {"partial_json": text("A piece of the arguments.")}),
    "MessageStart": _typed("message_start", {"message": ref("AnthropicAnswer")}),
    "ContentBlockStart": _typed("content_block_start", {"index": _INDEX, "content_block": _BLOCK}),
    "ContentBlockDelta": _typed("content_block_delta", {"index": _INDEX, "delta": _DELTAS}),
    "ContentBlockStop": _typed("content_block_stop", {"index": _INDEX}),
    "MessageDelta": _typed(
        "message_delta", {"delta": struct(_STOP, [*_STOP]), "usage": ref("AnthropicUsage")}
    ),
    "MessageStop": _typed("message_stop", {}),
    "Ping": _typed(
        "ping", {}, "A heartbeat, where the request asked for some: nothing is there to tell yet."
    ),
    "CountedTokens": struct({"input_tokens": _TOKENS}, ["input_tokens"]),
}
EVENTS = any_of(
    *map(
        ref,
        (
            "MessageStart",
            "ContentBlockStart",
            "ContentBlockDelta",
            "ContentBlockStop",
            "MessageDelta",
            "MessageStop",
            "Ping",
            "AnthropicError",
        ),
    ),
    about="The last one stops the message, or is an error if the answer broke off.",
)
