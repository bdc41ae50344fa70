"""/v1/responses."""

from __future__ import annotations

from collections.abc import Mapping

from drover.json_value import Json
from frontend.api.core.request import MAX_MESSAGES, MAX_TOOLS
from frontend.api.openai.extras.table import RESPONSES
from frontend.api.openai.responses.errors import STATUSES
from frontend.openapi.fields import EFFORT, KEEP_ALIVE, MODEL
from frontend.openapi.openai_common import ERROR
from frontend.openapi.openai_extras import extension_fields
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

ERRORS = generation_errors(ERROR, STATUSES)
_NULL: Schema = {"type": "null"}
_TOKENS = integer(minimum=0)
_TIME = integer("Unix time in seconds.", minimum=0)
_STATUS = text(enum=["in_progress", "completed", "incomplete"])
_CODES: list[Json] = [
    "context_length_exceeded",
    "invalid_prompt",
    "model_not_found",
    "rate_limit_exceeded",
    "server_error",
]
_ERROR = struct({"code": text(enum=_CODES), "message": text()}, ["code", "message"])
_SUMMARY = struct({"type": text(const="summary_text"), "text": text()}, ["type", "text"])
_PART: dict[str, Schema] = {
    "type": text(const="output_text"),
    "text": text(),
    "annotations": array({}, maxItems=0),
    "logprobs": array({}, maxItems=0),
}
_REASONING = struct(
    {
        "id": text(),
        "type": text(const="reasoning"),
        "summary": array(_SUMMARY, "The complete reasoning."),
        "encrypted_content": text("The same text, not encrypted."),
    },
    ["id", "type", "summary"],
)
_MESSAGE: dict[str, Schema] = {
    "id": text(),
    "type": text(const="message"),
    "status": _STATUS,
    "role": text(const="assistant"),
    "content": array(ref("OutputText")),
}
_CALL: dict[str, Schema] = {
    "id": text(),
    "type": text(const="function_call"),
    "status": _STATUS,
    "call_id": text(),
    "name": text(),
    "arguments": text("A JSON object as text."),
}
COMPACTION = struct(
    {
        "id": text(),
        "type": text(const="compaction"),
        "encrypted_content": text("A summary as JSON, not encrypted. Clients send it back unchanged."),
    },
    ["id", "type", "encrypted_content"],
    "The answer to an input whose last item is a `compaction_trigger`.",
)
_CUSTOM_CALL: dict[str, Schema] = {
    "id": text(),
    "type": text(const="custom_tool_call"),
    "status": _STATUS,
    "call_id": text(),
    "name": text(),
    "input": text("Raw text."),
}
_SEARCH_CALL: dict[str, Schema] = {
    "id": text(),
    "type": text(const="tool_search_call"),
    "status": _STATUS,
    "call_id": text(),
    "execution": text(const="client"),
    "arguments": mapping({}),
}
_NAMESPACE: dict[str, Schema] = {"namespace": text("The tool's namespace, if it has one.")}
_ITEM = any_of(
    _REASONING,
    COMPACTION,
    struct(_MESSAGE, [*_MESSAGE]),
    struct({**_CALL, **_NAMESPACE}, [*_CALL]),
    struct({**_CUSTOM_CALL, **_NAMESPACE}, [*_CUSTOM_CALL]),
    struct(_SEARCH_CALL, [*_SEARCH_CALL]),
)
_CACHE: dict[str, Schema] = {"cached_tokens": _TOKENS, "cache_write_tokens": integer(const=0)}
_USAGE: dict[str, Schema] = {
    "input_tokens": _TOKENS,
    "input_tokens_details": struct(_CACHE, [*_CACHE]),
    "output_tokens": _TOKENS,
    "output_tokens_details": struct({"reasoning_tokens": _TOKENS}, ["reasoning_tokens"]),
    "total_tokens": _TOKENS,
}
RESPONSES_USAGE = struct(_USAGE, [*_USAGE])
_RESPONSE: dict[str, Schema] = {
    "id": text(),
    "object": text(const="response"),
    "created_at": _TIME,
    "completed_at": or_null(_TIME),
    "status": text(enum=["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]),
    "incomplete_details": or_null(struct({"reason": text(const="max_output_tokens")}, ["reason"])),
    "output": array(ref("OutputItem"), "In the order of generation."),
    "error": or_null(_ERROR),
    "usage": or_null(RESPONSES_USAGE),
    "model": text("As requested."),
    "previous_response_id": or_null(text()),
    "instructions": or_null(text()),
    "tools": array(anything("As requested.")),
    "tool_choice": anything("As requested."),
    "truncation": text(enum=["auto", "disabled"]),
    "parallel_tool_calls": boolean(),
    "text": mapping({}),
    "top_p": number(),
    "presence_penalty": integer(const=0),
    "frequency_penalty": integer(const=0),
    "top_logprobs": integer(const=0),
    "temperature": number(),
    "reasoning": or_null(mapping({})),
    "max_output_tokens": or_null(integer()),
    "max_tool_calls": _NULL,
    "store": boolean("True if the response can be retrieved later."),
    "background": boolean(),
    "service_tier": text(const="default"),
    "metadata": mapping({}),
    "safety_identifier": or_null(text()),
    "prompt_cache_key": or_null(text()),
}
_ITEM_PLACE: dict[str, Schema] = {"item_id": text(), "output_index": integer(minimum=0)}
_IN_TEXT: dict[str, Schema] = {**_ITEM_PLACE, "content_index": integer(const=0)}
_IN_SUMMARY: dict[str, Schema] = {**_ITEM_PLACE, "summary_index": integer(const=0)}
_NO_LOGPROBS: dict[str, Schema] = {"logprobs": array({}, maxItems=0)}
_WHOLE: dict[str, Schema] = {"response": ref("Response")}
_ONE_ITEM: dict[str, Schema] = {"output_index": integer(minimum=0), "item": ref("OutputItem")}
_EVENTS: Mapping[str, dict[str, Schema]] = {
    "response.created": _WHOLE,
    "response.in_progress": _WHOLE,
    "response.output_item.added": _ONE_ITEM,
    "response.content_part.added": {**_IN_TEXT, "part": ref("OutputText")},
    "response.output_text.delta": {**_IN_TEXT, "delta": text(), **_NO_LOGPROBS},
    "response.output_text.done": {**_IN_TEXT, "text": text(), **_NO_LOGPROBS},
    "response.content_part.done": {**_IN_TEXT, "part": ref("OutputText")},
    "response.reasoning_summary_part.added": {**_IN_SUMMARY, "part": _SUMMARY},
    "response.reasoning_summary_text.delta": {**_IN_SUMMARY, "delta": text()},
    "response.reasoning_summary_text.done": {**_IN_SUMMARY, "text": text()},
    "response.reasoning_summary_part.done": {**_IN_SUMMARY, "part": _SUMMARY},
    "response.function_call_arguments.delta": {**_ITEM_PLACE, "delta": text()},
    "response.function_call_arguments.done": {**_ITEM_PLACE, "arguments": text()},
    "response.custom_tool_call_input.delta": {**_ITEM_PLACE, "delta": text()},
    "response.custom_tool_call_input.done": {**_ITEM_PLACE, "input": text()},
    "response.output_item.done": _ONE_ITEM,
    "response.completed": _WHOLE,
    "response.incomplete": _WHOLE,
    "response.failed": _WHOLE,
}


def _event(name: str, members: Mapping[str, Schema]) -> Schema:
    event: dict[str, Schema] = {"type": text(const=name), **members, "sequence_number": integer(minimum=0)}
    return struct(event, [*event])


EVENTS = any_of(
    *(_event(name, members) for name, members in _EVENTS.items()),
    about="The last event completes the response, or says why it is incomplete.",
)
_RESPONSE_SCHEMAS: dict[str, Schema] = {
    "Response": struct(_RESPONSE, [*_RESPONSE]),
    "OutputItem": _ITEM,
    "OutputText": struct(_PART, [*_PART]),
}


_NAMED = request({"type": text(enum=["function", "custom"]), "name": text()}, ["type", "name"])
_ALLOWED = request(
    {
        "type": text(const="allowed_tools"),
        "mode": text(enum=["auto", "none", "required"]),
        "tools": array({}),
    },
    ["type", "mode", "tools"],
)

_REQUEST_SCHEMAS: dict[str, Schema] = {
    "ResponsesRequest": request(
        {
            "model": MODEL,
            "input": any_of(
                text(minLength=1),
                array(ref("ResponsesItem"), minItems=1, maxItems=MAX_MESSAGES),
                about="The user's message, or the items of a conversation.",
            ),
            "instructions": text("A system message before all others.", default=""),
            "stream": boolean("Stream the answer as events; false returns one response.", default=False),
            "max_output_tokens": integer(
                "Maximum number of generated tokens; 0 or less: ten times the context."
            ),
            "temperature": number("Defaults to 1.0, whatever the model's own default is."),
            "top_p": number("Defaults to the model's own default, or else 0.9."),
            "reasoning": request(
                {
                    "effort": text(EFFORT),
                    "summary": anything(
                        "Repeated in the response. The summary is always the complete reasoning."
                    ),
                }
            ),
            "text": request({"format": anything("`text`, `json_object`, or `json_schema` with a `schema`.")}),
            "tools": array(or_null(ref("ResponsesTool")), maxItems=MAX_TOOLS),
            "tool_choice": any_of(
                text(enum=["none", "auto", "required"]),
                _NAMED,
                _ALLOWED,
                about="Function calls: none, at the model's choice, at least one, or the named one; or "
                "restricted to some of `tools`.",
            ),
            "parallel_tool_calls": boolean("Allow several calls in one answer."),
            "truncation": text(
                "`disabled` refuses an input that exceeds the context; by default its oldest part is cut.",
                enum=["auto", "disabled", ""],
            ),
            "background": boolean(
                "Answer at once with a response that is `queued`, and run it without a connection. Refused "
                "where the server stores no responses.",
                default=False,
            ),
            "store": boolean(
                "Whether to store the response; by default it is, if the server stores responses. Otherwise "
                "`true` is named in `X-Drover-Not-Honoured`."
            ),
            "include": anything(
                "`reasoning.encrypted_content` is always included; others are ignored and named."
            ),
            "metadata": mapping({}, "Repeated in the response."),
            "previous_response_id": text(
                "A stored response of the same client, whose conversation this request continues; its "
                "`instructions` are not. Refused where the server stores no responses."
            ),
            "conversation": {"enum": [None], "description": "Refused: conversations are not stored."},
            "safety_identifier": text("Repeated in the response."),
            "prompt_cache_key": text(
                "Repeated in the response; the same as `session_id`, if that is not sent. Without both, the "
                "header `session-id` counts."
            ),
            **extension_fields(RESPONSES),
            "options": ref("Options"),
            "num_ctx": integer(
                "An extension: number of tokens of the model's context that the request may use."
            ),
            "keep_alive": KEEP_ALIVE,
        },
        ["model", "input"],
    ),
    "ResponsesItem": request(
        {
            "type": text(
                "message, reasoning, web_search_call, additional_tools, function_call, custom_tool_call and "
                "tool_search_call and their outputs, compaction; as the last one compaction_trigger, which "
                "asks for a compaction (`stream` must be true). Others are kept as text and named in "
                "`X-Drover-Not-Honoured`. item_reference stands for a stored item, and is refused where "
                "nothing is stored."
            ),
            "role": text("user, assistant, system or developer.", minLength=1),
            "content": anything("A text, or parts: texts, and images as `data:` URLs."),
            "call_id": text("Id of a call, also in its output."),
            "name": text("The function's name."),
            "namespace": text("The function's namespace, if it has one."),
            "arguments": anything("A JSON object: as text, or in tool_search_call as it is."),
            "input": anything("Of a custom tool's call: its text."),
            "tools": anything("Of additional_tools and tool_search_output: tools that may be called."),
            "output": anything("A tool's result: a text, or parts."),
            "summary": anything("Of reasoning: parts, which are read if `encrypted_content` is empty."),
            "encrypted_content": text(
                "Of reasoning and compaction: the text that the server sent, which is not encrypted."
            ),
        },
        anyOf=[{"required": ["type"]}, {"required": ["role"]}],
    ),
    "ResponsesTool": request(
        {
            "type": text(
                "`function`, `custom` (its call has text), `namespace` with those in it, or `tool_search` "
                "with `execution` client. Others are not offered to the model but named in "
                "`X-Drover-Not-Honoured`."
            ),
            "name": text("The name of a function or of a custom tool must not be empty."),
            "description": text(),
            "parameters": mapping({}, "A JSON schema of the arguments."),
            "strict": anything("Repeated in the response."),
            "tools": anything("A namespace's functions and custom tools."),
            "format": anything("Of a custom tool: `text`, or a `grammar`, which its description shows."),
            "execution": anything("Of a tool search: who runs it, `client` or `server`."),
        }
    ),
}

SCHEMAS: dict[str, Schema] = {**_REQUEST_SCHEMAS, **_RESPONSE_SCHEMAS}

PATHS: dict[str, Schema] = {
    "/v1/responses": {
        "post": operation(
            "createResponse",
            "openai",
            "Generate a response to an input",
            ok(
                "The response: as events if `stream` is true, otherwise one object.",
                {JSON: ref("Response"), SSE: event(EVENTS)},
                GENERATION_HEADERS,
            ),
            ERRORS,
            body=json_body(ref("ResponsesRequest")),
        )
    },
}
