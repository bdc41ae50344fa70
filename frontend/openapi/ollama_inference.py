"""/api/chat and /api/generate."""

from __future__ import annotations

from collections.abc import Mapping

from frontend.api.core.request import MAX_MESSAGES, MAX_TOOLS
from frontend.openapi.fields import DURATION, IMAGES, KEEP_ALIVE, MODEL, STREAM, TIME, TOKEN_ID
from frontend.openapi.operations import (
    GENERATION_HEADERS,
    JSON,
    NDJSON,
    generation_errors,
    json_body,
    ok,
    operation,
)
from frontend.openapi.schema import (
    Schema,
    any_of,
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

_COMMON: dict[str, Schema] = {
    "model": MODEL,
    "stream": STREAM,
    "format": any_of(
        {"enum": ["json", ""]},
        {"type": "object"},
        about="Format of the answer: `json` for any JSON object, or a JSON schema. Objects have only the "
        "properties that the schema lists, unless it has `additionalProperties`.",
    ),
    "options": ref("Options"),
    "keep_alive": KEEP_ALIVE,
    "think": any_of(
        {"type": "boolean"},
        text(minLength=1),
        about="Whether the model thinks first, and how much: one of `thinking.values` of `/api/show`. "
        "Another name means the model's default; without values the names are `low`, `medium`, `high` and "
        "`max`. By default a model thinks if it has the capability.",
    ),
    "truncate": boolean(
        "Drop the oldest messages, or the beginning of the prompt, if it exceeds the context.", default=True
    ),
    "shift": boolean("When the context is full, drop the oldest tokens and keep generating.", default=True),
    "logprobs": boolean("Return each token's log probability.", default=False),
    "top_logprobs": integer(
        "With `logprobs`: number of alternatives for each token.", minimum=0, maximum=20, default=0
    ),
    "_debug_render_only": boolean("Return the rendered prompt and generate nothing.", default=False),
}
_CHAT: dict[str, Schema] = {
    **_COMMON,
    "messages": array(
        or_null(ref("Message")),
        "If empty, the model is loaded, or unloaded if `keep_alive` is 0.",
        maxItems=MAX_MESSAGES,
        default=[],
    ),
    "tools": array(ref("Tool"), maxItems=MAX_TOOLS, default=[]),
}
_GENERATE: dict[str, Schema] = {
    **_COMMON,
    "prompt": text("If empty, the model is loaded, or unloaded if `keep_alive` is 0.", default=""),
    "suffix": text("Text after the answer, which the model fills in between.", default=""),
    "system": text("Replaces the model's own system message.", default=""),
    "template": text("A Go template that replaces the model's own.", default=""),
    "context": array(
        or_null(TOKEN_ID), "The `context` of an earlier answer, which this prompt continues.", default=[]
    ),
    "raw": boolean(
        "Pass the prompt to the model without a template. Excludes `template`, `system` and `context`.",
        default=False,
    ),
    "images": {**IMAGES, "default": []},
}

_REQUEST_SCHEMAS: dict[str, Schema] = {
    "ChatRequest": request(_CHAT, ["model"]),
    "GenerateRequest": request(_GENERATE, ["model"]),
    "Tool": request(
        {"type": text(examples=["function"]), "function": ref("ToolFunction")},
        ["function"],
        description="A function. The shapes of the Responses API, of Anthropic and of MCP are accepted too.",
    ),
    "ToolFunction": request(
        {
            "name": text(minLength=1),
            "description": text(),
            "parameters": mapping({}, "A JSON schema of the arguments."),
        },
        ["name"],
    ),
}


_TEXTS: dict[str, Schema] = {
    "thinking": text("The model's thinking, if any."),
    "tool_calls": array(ref("ToolCall"), "Complete calls."),
}
_HEAD: dict[str, Schema] = {"model": text("The model's name as requested."), "created_at": TIME}
_LOGPROBS = array(ref("Logprob"), "Present if requested.")
_CONTEXT = array(TOKEN_ID, "Tokens of the prompt and the answer. Absent for a raw request.")
_METRICS: dict[str, Schema] = {
    "total_duration": DURATION,
    "load_duration": DURATION,
    "prompt_eval_count": integer("Tokens of the prompt, those from the prefix cache included.", minimum=1),
    "prompt_eval_cached_count": integer("Of these: found in the prefix cache.", minimum=0),
    "prompt_eval_duration": {**DURATION, "description": "Of the tokens that were not in the prefix cache."},
    "eval_count": integer("Tokens of the answer, including thinking.", minimum=1),
    "eval_duration": DURATION,
}
_ROUTED: dict[str, Schema] = {
    "routed_model": text(
        "The model that answered, if the requested one is virtual and chooses between others."
    ),
    "route_reason": text("Why that model was chosen."),
}
_MEASURED = (
    "total_duration", "load_duration", "prompt_eval_cached_count", "prompt_eval_duration", "eval_duration",
)  # fmt: skip
_LOGPROB: dict[str, Schema] = {
    "token": text(),
    "logprob": number(),
    "bytes": array(integer(minimum=0, maximum=255), "The token's UTF-8 bytes, if any."),
}
_RENDERED = struct({"rendered_template": text("The prompt.")}, ["rendered_template"])


def _message(output: Mapping[str, Schema], role: str = "assistant") -> dict[str, Schema]:
    message: dict[str, Schema] = {"role": text(const=role), **output}
    return {"message": struct(message, ["role", "content"])}


def _response(
    about: str, is_done: bool, output: Mapping[str, Schema], also: Mapping[str, Schema], *required: str
) -> Schema:
    """A response. `output`: its text members, of which the first is required."""
    done: dict[str, Schema] = {"done": {"type": "boolean", "const": is_done}}
    always = [*_HEAD, next(iter(output)), *done, *required]
    return struct({**_HEAD, **output, **done, **also}, always, about)


def _responses(
    name: str,
    output: Mapping[str, Schema],
    loaded: Mapping[str, Schema],
    rendered: Mapping[str, Schema],
    at_end: Mapping[str, Schema],
) -> dict[str, Schema]:
    """The responses of one route.

    `loaded`, `rendered`: text members where the model is only loaded, or the prompt only rendered.
    """
    end = {
        "done_reason": text(enum=["stop", "length"]),
        **at_end,
        "logprobs": _LOGPROBS,
        **_METRICS,
        **_ROUTED,
    }
    reason = {"done_reason": text(enum=["load", "unload"])}
    return {
        f"{name}Part": _response("A part of an answer.", False, output, {"logprobs": _LOGPROBS}),
        f"{name}End": _response(
            "The end of a stream, or a complete answer.", True, output, end, "done_reason", *_MEASURED
        ),
        f"{name}Loaded": _response(
            "The response to a request without a prompt.", True, loaded, reason, "done_reason"
        ),
        f"{name}Rendered": _response(
            "The response to `_debug_render_only`.",
            False,
            rendered,
            {"_debug_info": _RENDERED},
            "_debug_info",
        ),
    }


_NO_CONTENT: dict[str, Schema] = {"content": text(const="")}
_NO_RESPONSE: dict[str, Schema] = {"response": text(const="")}

_RESPONSE_SCHEMAS: dict[str, Schema] = {
    **_responses(
        "Chat",
        _message({"content": text(), **_TEXTS}),
        _message(_NO_CONTENT),
        _message(_NO_CONTENT, role=""),
        {},
    ),
    **_responses(
        "Generate", {"response": text(), **_TEXTS}, _NO_RESPONSE, _NO_RESPONSE, {"context": _CONTEXT}
    ),
    "ToolCall": struct({"id": text(), "function": ref("FunctionCall")}, ["id", "function"]),
    "FunctionCall": struct(
        {"index": integer(minimum=0), "name": text(), "arguments": mapping({})},
        ["index", "name", "arguments"],
    ),
    "Logprob": struct(
        {**_LOGPROB, "top_logprobs": array(ref("Alternative"), "Present if alternatives were requested.")},
        ["token", "logprob"],
    ),
    "Alternative": struct(_LOGPROB, ["token", "logprob"]),
}

SCHEMAS: dict[str, Schema] = {**_REQUEST_SCHEMAS, **_RESPONSE_SCHEMAS}


def _operation(operation_id: str, summary: str, name: str) -> Schema:
    streamed = any_of(
        ref(f"{name}Part"),
        ref(f"{name}End"),
        ref("Error"),
        about="One line. The last one is an end, or an error if the stream failed.",
    )
    whole = any_of(ref(f"{name}End"), ref(f"{name}Loaded"), ref(f"{name}Rendered"))
    return operation(
        operation_id,
        "inference",
        summary,
        ok(
            "The answer: line by line, or one object if `stream` is false.",
            {NDJSON: streamed, JSON: whole},
            GENERATION_HEADERS,
        ),
        generation_errors(),
        body=json_body(ref(f"{name}Request")),
    )


PATHS: dict[str, Schema] = {
    "/api/chat": {"post": _operation("chat", "Generate the next message of a conversation", "Chat")},
    "/api/generate": {"post": _operation("generate", "Generate the answer to a prompt", "Generate")},
}
