"""/v1/messages and /v1/messages/count_tokens: what they take."""

from __future__ import annotations

from drover.errors import ConstraintRejected, NotOffered
from frontend.openapi.answers import ANSWER_HEADERS, JSON, SSE, event, json_body, ok, operation
from frontend.openapi.fields import KEEP_ALIVE, MODEL
from frontend.openapi.inference import MOST_MESSAGES, MOST_TOOLS
from frontend.openapi.messages_answers import EVENTS
from frontend.openapi.refusals import ENGINE, FINDING, READING, refusals
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

ERROR = "AnthropicError"
_CONTENT = any_of(text(), array(ref("ContentBlock")), about="A text, or blocks, whose texts are joined.")
_FORMAT = request(
    {"type": text(const="json_schema"), "schema": mapping({}, "A JSON schema.")}, ["type", "schema"]
)
_FIELDS: dict[str, Schema] = {
    "model": MODEL,
    "messages": array(ref("AnthropicMessage"), minItems=1, maxItems=MOST_MESSAGES),
    "system": _CONTENT,
    "stream": boolean("Whether the answer comes in events as it is made, or as one message.", default=False),
    "temperature": number("By default the model's, or else 0.8."),
    "top_p": number(),
    "top_k": integer(),
    "stop_sequences": array(
        or_null(text()), "Texts that end the answer; which one did is told. They are not part of it."
    ),
    "tools": array(ref("AnthropicTool"), maxItems=MOST_TOOLS),
    "tool_choice": ref("AnthropicToolChoice"),
    "thinking": request(
        {"type": anything("`enabled`, `adaptive` or `disabled`.")},
        about="By default the model thinks if it can. A model that cannot is not asked to.",
    ),
    "output_config": request(
        {
            "effort": anything("How much is thought: low, medium, high, xhigh or max."),
            "format": anything("What the answer must look like, as in `output_format`."),
        }
    ),
    "output_format": _FORMAT,
    "options": ref("Options"),
    "num_ctx": integer("How many tokens of the model's context the request may use; at least 4."),
    "keep_alive": KEEP_ALIVE,
    "truncate": boolean("Whether what is too long for the context loses its oldest part.", default=True),
}
_COUNTED = {**_FIELDS, "max_tokens": integer("Means nothing here.", default=0)}
_ANSWERED = {**_FIELDS, "max_tokens": integer("Longest answer in tokens.", minimum=1)}

SCHEMAS: dict[str, Schema] = {
    "MessagesRequest": request(_ANSWERED, ["model", "max_tokens", "messages"]),
    "CountTokensRequest": request(_COUNTED, ["model", "messages"]),
    "AnthropicMessage": request(
        {"role": text(enum=["user", "assistant", "system"]), "content": _CONTENT},
        ["role"],
        "A conversation that ends with an assistant's message is continued there.",
    ),
    "ContentBlock": request(
        {
            "type": text(
                "Other types are left out, and named in `X-Drover-Not-Honoured`.",
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
            "thinking": text("Sent back as it came; what its signature is does not matter."),
            "source": anything(
                "Of an image: an object with base64. Of a document: one with a text, or blocks."
            ),
            "id": text("Of a call: must not be empty."),
            "name": text("Of a call: must not be empty."),
            "input": anything("Of a call: its arguments."),
            "is_error": boolean("Of a result: the tool failed, which the model reads."),
            "tool_name": text("Of a tool_reference: the tool whose definition the model reads there."),
            "tool": mapping({}, "Of a tool_addition or tool_removal: the tool."),
            "tool_use_id": text("Of a result: the call that it answers."),
            "content": anything("Of a result, of a tool or a search: a text, or blocks."),
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
            "type": text("With `any` and `tool` one must be called.", enum=["auto", "any", "tool", "none"]),
            "name": text("With `tool`: which one."),
            "disable_parallel_tool_use": boolean("Whether at most one is called.", default=False),
        },
        ["type"],
    ),
}

PATHS: dict[str, Schema] = {
    "/v1/messages": {
        "post": operation(
            "createMessage",
            "anthropic",
            "The next message of a conversation",
            ok(
                "An answer: whole, or in events if `stream` is true.",
                {JSON: ref("AnthropicAnswer"), SSE: event(EVENTS)},
                ANSWER_HEADERS,
            ),
            refusals([*READING, *FINDING, *ENGINE, ConstraintRejected, NotOffered], error=ERROR),
            body=json_body(ref("MessagesRequest")),
        )
    },
    "/v1/messages/count_tokens": {
        "post": operation(
            "countTokens",
            "anthropic",
            "How many tokens a conversation has, tools and all",
            ok("All of them, also those that would be cut off.", {JSON: ref("CountedTokens")}),
            refusals([*READING, *FINDING, *ENGINE, ConstraintRejected, NotOffered], error=ERROR),
            body=json_body(ref("CountTokensRequest")),
        )
    },
}
