"""/v1/chat/completions and /v1/completions."""

from __future__ import annotations

from collections.abc import Mapping

from frontend.api.core.request import MAX_MESSAGES, MAX_TOOLS
from frontend.api.openai.extras import table as extras
from frontend.api.openai.request import MAX_CHOICES
from frontend.openapi.fields import EFFORT
from frontend.openapi.openai_common import ERROR, GENERATION_ERRORS, SHARED_FIELDS, TOKEN_IDS
from frontend.openapi.openai_extras import extension_fields
from frontend.openapi.operations import GENERATION_HEADERS, JSON, SSE, event, json_body, ok, operation
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

_STOP = "One or several texts that end the generation and are not part of the output."

CHAT: dict[str, Schema] = {
    **SHARED_FIELDS,
    **extension_fields(extras.CHAT),
    "messages": array(ref("OpenAIMessage"), minItems=1, maxItems=MAX_MESSAGES),
    "stop": any_of(text(), array({}), about=_STOP),
    "max_completion_tokens": integer("The same as `max_tokens`, over which it takes precedence."),
    "tools": array(ref("Tool"), maxItems=MAX_TOOLS, default=[]),
    "tool_choice": any_of(
        text(enum=["none", "auto", "required"]),
        struct(
            {
                "type": text(const="function"),
                "function": struct({"name": text(minLength=1)}, ["name"], additionalProperties=True),
            },
            ["type", "function"],
            additionalProperties=True,
        ),
        struct(
            {
                "type": text(const="allowed_tools"),
                "allowed_tools": struct(
                    {"mode": text(enum=["auto", "none", "required"]), "tools": array({})}, ["mode", "tools"]
                ),
            },
            ["type", "allowed_tools"],
            additionalProperties=True,
        ),
        about="Function calls: none, at the model's choice, at least one, or the named one; or restricted to "
        "some of `tools`.",
    ),
    "parallel_tool_calls": boolean("Allow several calls in one answer."),
    "response_format": mapping(
        {},
        "`type` is `text`, `json_object`, `json_schema` with the schema in `json_schema.schema`, or SGLang's "
        "`structural_tag`.",
    ),
    "reasoning": mapping({}, "Its `effort` takes precedence over `reasoning_effort`."),
    "reasoning_effort": text(EFFORT),
    "logprobs": boolean("Return each token's log probability.", default=False),
    "top_logprobs": integer(
        "With `logprobs`: number of alternatives for each token.", minimum=0, maximum=20, default=0
    ),
    "_debug_render_only": boolean("Return the rendered prompt and generate nothing.", default=False),
}
_COMPLETION: dict[str, Schema] = {
    **SHARED_FIELDS,
    **extension_fields(extras.COMPLETIONS),
    "prompt": any_of(
        text(),
        TOKEN_IDS,
        array(any_of(text(), TOKEN_IDS), minItems=1, maxItems=MAX_CHOICES),
        about="A text, which the model's template renders, or token ids, which are used as they are; or "
        "several of either. An empty text loads the model, or unloads it if `keep_alive` is 0.",
    ),
    "stop": any_of(text(), array(text()), about=_STOP),
    "suffix": text("Text after the answer, which the model fills in between.", default=""),
    "_debug_render_only": boolean(
        "Render the prompt, which is not returned, and generate nothing.", default=False
    ),
    "logprobs": integer("Number of alternatives for each token.", minimum=0, maximum=20),
    "echo": boolean("Ignored, and named in `X-Drover-Not-Honoured`.", default=False),
    "best_of": integer("Ignored, and named in `X-Drover-Not-Honoured` if more than `n`."),
}
_PART = request(
    {
        "type": text(enum=["text", "refusal", "image_url", "input_audio"]),
        "text": text(),
        "refusal": text(),
        "image_url": any_of(text(), mapping({}), about="`data:image/png;base64,…`, as a text or in `url`."),
        "input_audio": mapping({}),
    },
    ["type"],
)
_MESSAGE = request(
    {
        "role": text("system, developer, user, assistant or tool.", examples=["user"]),
        "content": any_of(text(), array(_PART)),
        "reasoning": text("The reasoning of an earlier answer."),
        "reasoning_content": text("The name of `reasoning` at other servers."),
        "tool_calls": array(or_null(ref("OpenAISentToolCall"))),
        "function_call": anything("The older form of a call: `name`, and `arguments` as a text."),
        "refusal": text("In an assistant's message: its refusal, if it has no content."),
        "name": text("In a tool's message: the function's name."),
        "tool_call_id": text("In a tool's message: the id of the call that it answers."),
    },
    anyOf=[{"required": ["content"]}, {"required": ["tool_calls"]}],
)
_SENT_CALL = request(
    {
        "id": text(),
        "index": integer(),
        "type": text(),
        "function": request({"name": text(), "arguments": text("A JSON object as text.")}),
    }
)

_REQUEST_SCHEMAS: dict[str, Schema] = {
    "ChatCompletionRequest": request(CHAT, ["model", "messages"]),
    "CompletionRequest": request(_COMPLETION, ["model"]),
    "OpenAIMessage": _MESSAGE,
    "OpenAISentToolCall": _SENT_CALL,
}


_REASONS = ("stop", "length")
_HEAD: dict[str, Schema] = {
    "id": text("Unique for each answer; the same in all its events."),
    "created": integer("Unix time in seconds.", minimum=0),
    "model": text("The model's name as requested."),
    "system_fingerprint": text(const="fp_ollama"),
}
_LOGPROBS = struct({"content": array(ref("OpenAILogprob"))}, ["content"])
_OLD_LOGPROBS = struct(
    {
        "tokens": array(text()),
        "token_logprobs": array(number()),
        "top_logprobs": array(mapping(number())),
        "text_offset": array(integer("Offset in characters of the answer.", minimum=0)),
    },
    ["tokens", "token_logprobs", "top_logprobs", "text_offset"],
)
_INDEX = integer("The choice's number.", minimum=0)
_CALL = struct(
    {
        "id": text(),
        "index": integer(minimum=0),
        "type": text(const="function"),
        "function": struct(
            {"name": text(), "arguments": text("A JSON object as text; in a stream, a part of it.")},
            ["arguments"],
        ),
    },
    ["index", "function"],
    "In a stream, a call's first part has its id and name.",
)
_MESSAGE_MEMBERS: dict[str, Schema] = {
    "role": text(enum=["assistant", ""]),
    "content": text(),
    "reasoning": text("The model's reasoning, if any."),
    "tool_calls": array(ref("OpenAIToolCall")),
}
_USAGE: dict[str, Schema] = {"usage": ref("Usage")}
_TIMINGS: dict[str, Schema] = {
    "prompt_n": integer("Tokens of the prompts, those from the prefix cache included.", minimum=0),
    "prompt_ms": number("Of the tokens that were not in the prefix cache, of the slowest choice.", minimum=0),
    "prompt_per_second": number("The one by the other: larger after a hit of the prefix cache.", minimum=0),
    "predicted_n": integer("Tokens of all choices.", minimum=0),
    "predicted_ms": number("Of the slowest choice.", minimum=0),
    "predicted_per_second": number(minimum=0),
}
_WITH_USAGE: dict[str, Schema] = {
    **_USAGE,
    "timings": {**struct(_TIMINGS, [*_TIMINGS]), "description": "In the last chunk, with `include_usage`."},
}
_DEBUG: dict[str, Schema] = {
    "_debug_info": struct({"rendered_template": text("The prompt.")}, ["rendered_template"])
}


def _reason(*reasons: str) -> Schema:
    return or_null(text("Null until the choice ends.", enum=[*reasons, None]))


def _response(
    kind: str, choice: Schema, required: Mapping[str, Schema], optional: Mapping[str, Schema]
) -> Schema:
    always: dict[str, Schema] = {**_HEAD, "object": text(const=kind), "choices": array(choice), **required}
    return struct({**always, **optional}, [*always])


def _chat_choice(name: str, message: Schema) -> Schema:
    reason = _reason(*_REASONS, "tool_calls")
    members: dict[str, Schema] = {"index": _INDEX, name: message, "finish_reason": reason}
    return struct({**members, "logprobs": _LOGPROBS}, [*members])


_TEXT_CHOICE = struct(
    {
        "text": text(),
        "index": _INDEX,
        "finish_reason": _reason(*_REASONS, "load", "unload"),
        "logprobs": _OLD_LOGPROBS,
    },
    ["text", "index", "finish_reason"],
)
_TOKEN: dict[str, Schema] = {
    "token": text(),
    "logprob": number(),
    "bytes": array(integer(minimum=0, maximum=255), "The token's UTF-8 bytes, if any."),
}

_RESPONSE_SCHEMAS: dict[str, Schema] = {
    "ChatCompletion": _response(
        "chat.completion",
        _chat_choice("message", struct(_MESSAGE_MEMBERS, ["role", "content"])),
        _USAGE,
        _DEBUG,
    ),
    "ChatCompletionChunk": _response(
        "chat.completion.chunk", _chat_choice("delta", struct(_MESSAGE_MEMBERS)), {}, _WITH_USAGE
    ),
    "Completion": _response("text_completion", _TEXT_CHOICE, _USAGE, {}),
    "CompletionChunk": _response("text_completion", _TEXT_CHOICE, {}, _WITH_USAGE),
    "OpenAIToolCall": _CALL,
    "OpenAILogprob": struct(
        {**_TOKEN, "top_logprobs": array(ref("Alternative"))}, ["token", "logprob", "top_logprobs"]
    ),
}

SCHEMAS: dict[str, Schema] = {**_REQUEST_SCHEMAS, **_RESPONSE_SCHEMAS}


def _operation(operation_id: str, summary: str, name: str) -> Schema:
    streamed = event(any_of(ref(f"{name}Chunk"), ref(ERROR)), last="[DONE]")
    return operation(
        operation_id,
        "openai",
        summary,
        ok(
            "The answer: as events if `stream` is true, otherwise one object.",
            {SSE: streamed, JSON: ref(name)},
            GENERATION_HEADERS,
        ),
        GENERATION_ERRORS,
        body=json_body(ref(f"{name}Request")),
    )


PATHS: dict[str, Schema] = {
    "/v1/chat/completions": {
        "post": _operation(
            "createChatCompletion", "Generate the next message of a conversation", "ChatCompletion"
        )
    },
    "/v1/completions": {
        "post": _operation("createCompletion", "Generate the answers to prompts", "Completion")
    },
}
