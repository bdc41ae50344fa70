"""/v1/chat/completions and /v1/completions: what they take."""

from __future__ import annotations

from frontend.openapi.answers import ANSWER_HEADERS, JSON, SSE, event, json_body, ok, operation
from frontend.openapi.inference import MOST_MESSAGES, MOST_TOOLS
from frontend.openapi.openai_fields import ERROR, GENERATING, MOST_CHOICES, SAMPLED, TOKEN_IDS
from frontend.openapi.schemas import (
    Schema,
    any_of,
    anything,
    array,
    boolean,
    integer,
    mapping,
    or_null,
    ref,
    request,
    struct,
    text,
)

_EFFORTS = ("", "none", "minimal", "low", "medium", "high", "xhigh", "ultra", "max")
_STOP = "A text that ends the answer and is not part of it, or several."

CHAT: dict[str, Schema] = {
    **SAMPLED,
    "messages": array(ref("OpenAIMessage"), minItems=1, maxItems=MOST_MESSAGES),
    "stop": any_of(text(), array({}), about=_STOP),
    "max_completion_tokens": integer("The same as `max_tokens`, before which it comes."),
    "tools": array(ref("Tool"), maxItems=MOST_TOOLS, default=[]),
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
        about="Whether a function is called: none, as the model likes, at least one, or this one; or which "
        "of `tools` may be.",
    ),
    "parallel_tool_calls": boolean("Whether there may be several calls in one answer."),
    "response_format": mapping(
        {}, "`type` is `text`, `json_object`, or `json_schema` with the schema in `json_schema.schema`."
    ),
    "reasoning": mapping({}, "Its `effort` comes before `reasoning_effort`."),
    "reasoning_effort": text("How much a model thinks that can.", enum=[*_EFFORTS]),
    "logprobs": boolean("Whether each token comes with its log probability.", default=False),
    "top_logprobs": integer(
        "With `logprobs`: how many alternatives for each token.", minimum=0, maximum=20, default=0
    ),
    "_debug_render_only": boolean("Whether only the prompt is made, and shown.", default=False),
}
_COMPLETION: dict[str, Schema] = {
    **SAMPLED,
    "prompt": any_of(
        text(),
        TOKEN_IDS,
        array(any_of(text(), TOKEN_IDS), minItems=1, maxItems=MOST_CHOICES),
        about="A text, which the model's template makes a prompt of, or token ids, which are the prompt; or "
        "several of them. An empty text loads the model, or unloads it if `keep_alive` is 0.",
    ),
    "stop": any_of(text(), array(text()), about=_STOP),
    "suffix": text("What comes after the answer: the model fills in between.", default=""),
    "_debug_render_only": boolean("Whether only the prompt is made, which is not shown.", default=False),
    "logprobs": integer("How many alternatives each token comes with.", minimum=0, maximum=20),
    "echo": boolean("Read, and named in `X-Drover-Not-Honoured`.", default=False),
    "best_of": integer("Read, and named in `X-Drover-Not-Honoured` where it is more than `n`."),
}
_PART = request(
    {
        "type": text(enum=["text", "refusal", "image_url", "input_audio"]),
        "text": text(),
        "refusal": text(),
        "image_url": any_of(text(), mapping({}), about="`data:image/png;base64,…`, itself or as `url`."),
        "input_audio": mapping({}),
    },
    ["type"],
)
_MESSAGE = request(
    {
        "role": text("system, developer, user, assistant or tool.", examples=["user"]),
        "content": any_of(text(), array(_PART)),
        "reasoning": text("Of an earlier answer."),
        "reasoning_content": text("The same, as other servers call it."),
        "tool_calls": array(or_null(ref("OpenAISentToolCall"))),
        "function_call": anything("The older form of a call: a `name`, and `arguments` as a text."),
        "refusal": text("Of an assistant that said nothing else."),
        "name": text("Of a tool's message: the function."),
        "tool_call_id": text("Of a tool's message: the call that it answers."),
    },
    anyOf=[{"required": ["content"]}, {"required": ["tool_calls"]}],
)
_SENT_CALL = request(
    {
        "id": text(),
        "index": integer(),
        "type": text(),
        "function": request({"name": text(), "arguments": text("An object, as a text of JSON.")}),
    }
)

SCHEMAS: dict[str, Schema] = {
    "ChatCompletionRequest": request(CHAT, ["model", "messages"]),
    "CompletionRequest": request(_COMPLETION, ["model"]),
    "OpenAIMessage": _MESSAGE,
    "OpenAISentToolCall": _SENT_CALL,
}


def _operation(operation_id: str, summary: str, name: str) -> Schema:
    streamed = event(any_of(ref(f"{name}Chunk"), ref(ERROR)), last="[DONE]")
    return operation(
        operation_id,
        "openai",
        summary,
        ok(
            "An answer: in events if `stream` is true, or whole.",
            {SSE: streamed, JSON: ref(name)},
            ANSWER_HEADERS,
        ),
        GENERATING,
        body=json_body(ref(f"{name}Request")),
    )


PATHS: dict[str, Schema] = {
    "/v1/chat/completions": {
        "post": _operation("createChatCompletion", "The next message of a conversation", "ChatCompletion")
    },
    "/v1/completions": {"post": _operation("createCompletion", "The answers to prompts", "Completion")},
}
