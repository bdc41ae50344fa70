"""/v1/responses: what it takes."""

from __future__ import annotations

from frontend.openapi.answers import ANSWER_HEADERS, JSON, SSE, event, json_body, ok, operation
from frontend.openapi.fields import KEEP_ALIVE, MODEL
from frontend.openapi.inference import MOST_MESSAGES, MOST_TOOLS
from frontend.openapi.openai_fields import GENERATING
from frontend.openapi.responses_answers import EVENTS
from frontend.openapi.schemas import (
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
    text,
)

_NOTHING_IS_STORED = "Refused: nothing is stored here."
_NAMED = request({"type": text(const="function"), "name": text()}, ["type", "name"])
_ALLOWED = request(
    {
        "type": text(const="allowed_tools"),
        "mode": text(enum=["auto", "none", "required"]),
        "tools": array({}),
    },
    ["type", "mode", "tools"],
)

SCHEMAS: dict[str, Schema] = {
    "ResponsesRequest": request(
        {
            "model": MODEL,
            "input": any_of(
                text(minLength=1),
                array(ref("ResponsesItem"), minItems=1, maxItems=MOST_MESSAGES),
                about="What the user says, or the items of a conversation.",
            ),
            "instructions": text("A system message before all others.", default=""),
            "stream": boolean(
                "Whether the answer comes in events as it is made, or as one response.", default=False
            ),
            "max_output_tokens": integer("Longest answer; 0 and less: what fits in ten contexts."),
            "temperature": number("Without it, 1.0, whatever the model's own is."),
            "top_p": number("By default the model's, or else 0.9."),
            "reasoning": request(
                {
                    "effort": any_of(
                        {"enum": ["", "none", "minimal", "low", "medium", "high", "xhigh", "ultra", "max"]},
                        about="How much a model thinks that can. By default it does.",
                    ),
                    "summary": anything("Repeated in the answer. All that was thought is told."),
                }
            ),
            "text": request({"format": anything("`text`, `json_object`, or `json_schema` with a `schema`.")}),
            "tools": array(or_null(ref("ResponsesTool")), maxItems=MOST_TOOLS),
            "tool_choice": any_of(
                text(enum=["none", "auto", "required"]),
                _NAMED,
                _ALLOWED,
                about="Whether a function is called: none, as the model likes, at least one, or this one; or "
                "which of `tools` may be.",
            ),
            "parallel_tool_calls": boolean("Whether there may be several calls in one answer."),
            "truncation": text(
                "`disabled` refuses what is too long for the context. Without it, the oldest part is lost.",
                enum=["auto", "disabled", ""],
            ),
            "background": boolean("Repeated in the answer, which is waited for.", default=False),
            "store": boolean("Nothing is stored here; true is named in `X-Drover-Not-Honoured`."),
            "include": anything("`reasoning.encrypted_content` is always there; others are named."),
            "metadata": mapping({}, "Repeated in the answer."),
            "previous_response_id": text(_NOTHING_IS_STORED, maxLength=0),
            "conversation": {"enum": [None], "description": _NOTHING_IS_STORED},
            "safety_identifier": text("Repeated in the answer."),
            "prompt_cache_key": text("Repeated in the answer: prefixes are found in caches without it."),
            "options": ref("Options"),
            "num_ctx": integer("An extension: how many tokens of the model's context may be used."),
            "keep_alive": KEEP_ALIVE,
        },
        ["model", "input"],
    ),
    "ResponsesItem": request(
        {
            "type": text(
                "message, function_call, function_call_output, reasoning or web_search_call. Others are kept "
                "as text and named in `X-Drover-Not-Honoured`, but for item_reference, which is refused."
            ),
            "role": text("user, assistant, system or developer.", minLength=1),
            "content": anything("A text, or parts: texts, and images as `data:` URLs."),
            "call_id": text("Of a call, and of its output."),
            "name": text("Of the function."),
            "namespace": text("Of the function, if it is in one."),
            "arguments": text("An object, as a text of JSON."),
            "output": anything("Of a function: a text, or parts."),
            "summary": anything("Of reasoning: parts, which are read where `encrypted_content` is empty."),
            "encrypted_content": text("Of reasoning, which is not encrypted: sent back as it came."),
        },
        anyOf=[{"required": ["type"]}, {"required": ["role"]}],
    ),
    "ResponsesTool": request(
        {
            "type": text(
                "`function`, or `namespace` with functions in it. Others are not offered to the model, and "
                "named in `X-Drover-Not-Honoured`."
            ),
            "name": text("Of a function: must not be empty."),
            "description": text(),
            "parameters": mapping({}, "A JSON schema of the arguments."),
            "strict": anything("Repeated in the answer."),
            "tools": anything("Of a namespace: its functions."),
        }
    ),
}

PATHS: dict[str, Schema] = {
    "/v1/responses": {
        "post": operation(
            "createResponse",
            "openai",
            "The answer to an input",
            ok(
                "A response: whole, or in events if `stream` is true.",
                {JSON: ref("Response"), SSE: event(EVENTS)},
                ANSWER_HEADERS,
            ),
            GENERATING,
            body=json_body(ref("ResponsesRequest")),
        )
    },
}
