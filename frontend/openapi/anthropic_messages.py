"""/v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from drover.json_value import Json
from frontend.api.core.request import MAX_MESSAGES, MAX_TOOLS
from frontend.openapi.fields import EFFORT, KEEP_ALIVE, MODEL
from frontend.openapi.operations import (
    GENERATION_HEADERS,
    JSON,
    SSE,
    event,
    generation_errors,
    json_body,
    ok,
    operation,
)
from frontend.openapi.schema import (
    Schema,
    any_of,
    anything,
    array,
    boolean,
    integer,
    mapping,
    number,
    or_null,
    ref,
    request,
    struct,
    text,
)

_REASONS: list[Json] = ["end_turn", "max_tokens", "stop_sequence", "tool_use"]
_INDEX = integer("The block's number.", minimum=0)
_TOKENS = integer(minimum=0)
_SIGNATURE = text("A placeholder: clients require a signature and send it back.")
_USAGE: dict[str, Schema] = {
    "input_tokens": integer("Of the prompt, without cached tokens.", minimum=0),
    "cache_creation_input_tokens": integer(const=0),
    "cache_read_input_tokens": integer("Of the prompt, from the prefix cache.", minimum=0),
    "output_tokens": integer("Of the answer, including thinking.", minimum=0),
}
_THINKING: dict[str, Schema] = {"thinking": text(), "signature": _SIGNATURE}
_TEXT: dict[str, Schema] = {"text": text()}
_CALL: dict[str, Schema] = {"id": text(), "name": text(), "input": mapping({}, "The arguments.")}
_BLOCK = any_of(ref("ThinkingBlock"), ref("TextBlock"), ref("ToolUseBlock"))
_DELTAS = any_of(ref("ThinkingDelta"), ref("SignatureDelta"), ref("TextDelta"), ref("InputJsonDelta"))
_STOP: dict[str, Schema] = {
    "stop_reason": or_null(text("Null until the answer ends.", enum=_REASONS)),
    "stop_sequence": or_null(text("The matched one of `stop_sequences`.")),
}
_MESSAGE: dict[str, Schema] = {
    "id": text(pattern="^msg_[0-9a-f]{24}$"),
    "role": text(const="assistant"),
    "model": text("The model's name as requested."),
    "content": array(_BLOCK, "In the order of generation."),
    **_STOP,
    "usage": ref("AnthropicUsage"),
}
_ERROR: dict[str, Schema] = {
    "error": struct({"type": text(), "message": text()}, ["type", "message"]),
    "request_id": text(pattern="^req_[0-9a-f]{24}$"),
}


def _typed(kind: str, members: dict[str, Schema], about: str = "") -> Schema:
    return struct({"type": text(const=kind), **members}, ["type", *members], about)


_RESPONSE_SCHEMAS: dict[str, Schema] = {
    "AnthropicAnswer": _typed("message", _MESSAGE),
    "AnthropicUsage": struct(_USAGE, [*_USAGE]),
    "AnthropicError": _typed("error", _ERROR),
    "ThinkingBlock": _typed("thinking", _THINKING),
    "TextBlock": _typed("text", _TEXT),
    "ToolUseBlock": _typed("tool_use", _CALL),
    "ThinkingDelta": _typed("thinking_delta", {"thinking": text()}),
    "SignatureDelta": _typed("signature_delta", {"signature": _SIGNATURE}),
    "TextDelta": _typed("text_delta", _TEXT),
    "InputJsonDelta": _typed("input_json_delta", {"partial_json": text("A part of the arguments.")}),
    "MessageStart": _typed("message_start", {"message": ref("AnthropicAnswer")}),
    "ContentBlockStart": _typed("content_block_start", {"index": _INDEX, "content_block": _BLOCK}),
    "ContentBlockDelta": _typed("content_block_delta", {"index": _INDEX, "delta": _DELTAS}),
    "ContentBlockStop": _typed("content_block_stop", {"index": _INDEX}),
    "MessageDelta": _typed(
        "message_delta", {"delta": struct(_STOP, [*_STOP]), "usage": ref("AnthropicUsage")}
    ),
    "MessageStop": _typed("message_stop", {}),
    "Ping": _typed("ping", {}, "A heartbeat, if the request asked for heartbeats, while there is no output."),
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
    about="The last event is `message_stop`, or an error if the stream failed.",
)


ERROR = "AnthropicError"
_CONTENT = any_of(
    text(), array(ref("ContentBlock")), about="A text, or blocks, whose texts are concatenated."
)
_FORMAT = request(
    {"type": text(const="json_schema"), "schema": mapping({}, "A JSON schema.")}, ["type", "schema"]
)
_FIELDS: dict[str, Schema] = {
    "model": MODEL,
    "messages": array(ref("AnthropicMessage"), minItems=1, maxItems=MAX_MESSAGES),
    "system": _CONTENT,
    "stream": boolean("Stream the answer as events; false returns one message.", default=False),
    "temperature": number("Defaults to the model's own default, or else 0.8."),
    "top_p": number(),
    "top_k": integer(),
    "stop_sequences": array(
        or_null(text()),
        "Texts that end the generation and are not part of the output. The matched one is returned.",
    ),
    "tools": array(ref("AnthropicTool"), maxItems=MAX_TOOLS),
    "tool_choice": ref("AnthropicToolChoice"),
    "thinking": request(
        {"type": anything("`enabled`, `adaptive` or `disabled`.")},
        about="By default a model with the thinking capability thinks. Others ignore the field.",
    ),
    "output_config": request(
        {
            "effort": anything(EFFORT),
            "format": anything("Format of the answer, as in `output_format`."),
        }
    ),
    "output_format": _FORMAT,
    "options": ref("Options"),
    "num_ctx": integer("Number of tokens of the model's context that the request may use; at least 4."),
    "keep_alive": KEEP_ALIVE,
    "truncate": boolean("Drop the oldest messages if the conversation exceeds the context.", default=True),
}
_COUNTED = {**_FIELDS, "max_tokens": integer("Ignored.", default=0)}
_ANSWERED = {**_FIELDS, "max_tokens": integer("Maximum number of generated tokens.", minimum=1)}

_REQUEST_SCHEMAS: dict[str, Schema] = {
    "MessagesRequest": request(_ANSWERED, ["model", "max_tokens", "messages"]),
    "CountTokensRequest": request(_COUNTED, ["model", "messages"]),
    "AnthropicMessage": request(
        {"role": text(enum=["user", "assistant", "system"]), "content": _CONTENT},
        ["role"],
        "If the last message is the assistant's, the model continues it.",
    ),
    "ContentBlock": request(
        {
            "type": text(
                "Other types are ignored and named in `X-Drover-Not-Honoured`.",
                examples=[
                    "text",
                    "image",
                    "document",
                    "search_result",
                    "thinking",
                    "tool_use",
                    "tool_result",
                ],
            ),
            "text": text(),
            "thinking": text("The thinking of an earlier answer; its signature is ignored."),
            "source": anything(
                "Of an image: an object with base64. Of a document: an object with a text, or blocks."
            ),
            "id": text("Of a call: must not be empty."),
            "name": text("Of a call: must not be empty."),
            "input": anything("Of a call: its arguments."),
            "is_error": boolean("Of a result: the tool failed, as the model is informed."),
            "tool_name": text("Of a tool_reference: the tool whose definition replaces the block."),
            "tool": mapping({}, "Of a tool_addition or tool_removal: the tool."),
            "tool_use_id": text("Of a result: the id of the call that it answers."),
            "content": anything("Of a tool result or a search result: a text, or blocks."),
        }
    ),
    "AnthropicTool": request(
        {
            "type": text("`custom`. Tools that Anthropic's servers run are refused.", default="custom"),
            "name": text(minLength=1),
            "description": text(),
            "input_schema": mapping({}, "A JSON schema of the arguments."),
        },
        ["name"],
    ),
    "AnthropicToolChoice": request(
        {
            "type": text(
                "With `any` and `tool` a tool must be called.", enum=["auto", "any", "tool", "none"]
            ),
            "name": text("With `tool`: the tool's name."),
            "disable_parallel_tool_use": boolean("Allow at most one call.", default=False),
        },
        ["type"],
    ),
}

SCHEMAS: dict[str, Schema] = {**_REQUEST_SCHEMAS, **_RESPONSE_SCHEMAS}

PATHS: dict[str, Schema] = {
    "/v1/messages": {
        "post": operation(
            "createMessage",
            "anthropic",
            "Generate the next message of a conversation",
            ok(
                "The answer: as events if `stream` is true, otherwise one object.",
                {JSON: ref("AnthropicAnswer"), SSE: event(EVENTS)},
                GENERATION_HEADERS,
            ),
            generation_errors(ERROR),
            body=json_body(ref("MessagesRequest")),
        )
    },
    "/v1/messages/count_tokens": {
        "post": operation(
            "countTokens",
            "anthropic",
            "Count the tokens of a conversation, including its tools",
            ok("All tokens, also those that would be dropped.", {JSON: ref("CountedTokens")}),
            generation_errors(ERROR),
            body=json_body(ref("CountTokensRequest")),
        )
    },
}
