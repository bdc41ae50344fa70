"""/v1/tokenize, /v1/detokenize, /api/tokenize and /api/detokenize."""

from __future__ import annotations

from drover.errors import NotOffered
from frontend.api.tokens import MAX_TEXTS
from frontend.openapi.fields import DURATION, KEEP_ALIVE, MODEL, TOKEN_ID
from frontend.openapi.openai_common import GENERATION_ERRORS
from frontend.openapi.openai_inference import CHAT
from frontend.openapi.operations import (
    BODY_ERRORS,
    ENGINE_ERRORS,
    JSON,
    MODEL_ERRORS,
    NOT_HONOURED,
    Responses,
    error_responses,
    json_body,
    ok,
    operation,
)
from frontend.openapi.schema import Schema, any_of, array, boolean, integer, ref, request, struct, text

_IDS = array(TOKEN_ID)
_COUNT = integer(minimum=0)
_MODEL_AND_TIME: dict[str, Schema] = {
    "model": text("The model's name as requested."),
    "total_duration": DURATION,
}

SCHEMAS: dict[str, Schema] = {
    "OpenAITokenizeRequest": request(
        {
            "model": MODEL,
            "prompt": any_of(text(), array(text(), minItems=1, maxItems=MAX_TEXTS)),
            "messages": {
                **CHAT["messages"],
                "description": "A chat instead of `prompt`, rendered as for a chat completion, whose other "
                "fields apply too.",
            },
            "add_special_tokens": boolean(
                "Include the special tokens that the model expects at the beginning.", default=True
            ),
        },
        ["model"],
    ),
    "OpenAITokens": struct(
        {
            "tokens": any_of(_IDS, array(_IDS)),
            "count": any_of(_COUNT, array(_COUNT)),
            "max_model_len": integer("Context length in tokens of a request.", minimum=0),
        },
        ["tokens", "count", "max_model_len"],
        "Lists if `prompt` is a list.",
    ),
    "OpenAIDetokenizeRequest": request(
        {"model": MODEL, "tokens": any_of(_IDS, array(_IDS, maxItems=MAX_TEXTS))}, ["model"]
    ),
    "OpenAIText": struct({"text": any_of(text(), array(text()))}, ["text"]),
    "TokenizeRequest": request(
        {"model": MODEL, "content": text(default=""), "keep_alive": KEEP_ALIVE}, ["model"]
    ),
    "TokenizeAnswer": struct({**_MODEL_AND_TIME, "tokens": _IDS}, [*_MODEL_AND_TIME, "tokens"]),
    "DetokenizeRequest": request(
        {"model": MODEL, "tokens": {**_IDS, "default": []}, "keep_alive": KEEP_ALIVE}, ["model"]
    ),
    "DetokenizeAnswer": struct({**_MODEL_AND_TIME, "content": text()}, [*_MODEL_AND_TIME, "content"]),
}


def _operation(
    operation_id: str, tag: str, summary: str, request_name: str, response_name: str, errors: Responses
) -> Schema:
    return {
        "post": operation(
            operation_id,
            tag,
            summary,
            ok(
                "The result; nothing is generated.",
                {JSON: ref(response_name)},
                {"X-Drover-Not-Honoured": NOT_HONOURED},
            ),
            errors,
            body=json_body(ref(request_name)),
        )
    }


_NATIVE = error_responses([*BODY_ERRORS, *MODEL_ERRORS, *ENGINE_ERRORS, NotOffered])
_TOKENIZE, _DETOKENIZE = "Convert text to token ids", "Convert token ids to text"

PATHS: dict[str, Schema] = {
    "/v1/tokenize": _operation(
        "tokenize", "openai", _TOKENIZE, "OpenAITokenizeRequest", "OpenAITokens", GENERATION_ERRORS
    ),
    "/v1/detokenize": _operation(
        "detokenize", "openai", _DETOKENIZE, "OpenAIDetokenizeRequest", "OpenAIText", GENERATION_ERRORS
    ),
    "/api/tokenize": _operation(
        "nativeTokenize", "models", _TOKENIZE, "TokenizeRequest", "TokenizeAnswer", _NATIVE
    ),
    "/api/detokenize": _operation(
        "nativeDetokenize", "models", _DETOKENIZE, "DetokenizeRequest", "DetokenizeAnswer", _NATIVE
    ),
}
