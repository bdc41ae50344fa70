"""/v1/responses/compact and /v1/responses/input_tokens."""

from __future__ import annotations

from frontend.openapi.openai_responses import COMPACTION, ERRORS, RESPONSES_USAGE
from frontend.openapi.operations import GENERATION_HEADERS, JSON, NOT_HONOURED, json_body, ok, operation
from frontend.openapi.schema import Schema, any_of, array, integer, mapping, ref, struct, text

_COMPACTED: dict[str, Schema] = {
    "id": text(),
    "object": text(const="response.compaction"),
    "created_at": integer("Unix time in seconds.", minimum=0),
    "output": array(
        any_of(COMPACTION, mapping({})), "The user's messages as they were sent, then the compaction."
    ),
    "usage": RESPONSES_USAGE,
}

SCHEMAS: dict[str, Schema] = {
    "CompactedResponse": struct(_COMPACTED, [*_COMPACTED]),
    "ResponsesInputTokens": struct(
        {"object": text(const="response.input_tokens"), "input_tokens": integer(minimum=0)},
        ["object", "input_tokens"],
    ),
}
_BODY = json_body(ref("ResponsesRequest"))

PATHS: dict[str, Schema] = {
    "/v1/responses/compact": {
        "post": operation(
            "compactResponse",
            "openai",
            "Summarise a conversation as an item that stands for it in later inputs",
            ok("The compacted conversation.", {JSON: ref("CompactedResponse")}, GENERATION_HEADERS),
            ERRORS,
            body=_BODY,
        )
    },
    "/v1/responses/input_tokens": {
        "post": operation(
            "countInputTokens",
            "openai",
            "Count the tokens of an input",
            ok(
                "The number of tokens, by the model's own tokenizer and template; nothing is generated.",
                {JSON: ref("ResponsesInputTokens")},
                {"X-Drover-Not-Honoured": NOT_HONOURED},
            ),
            ERRORS,
            body=_BODY,
        )
    },
}
