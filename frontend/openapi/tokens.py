"""/v1/tokenize, /v1/detokenize, /api/tokenize and /api/detokenize."""

from __future__ import annotations

from drover.errors import NotOffered
from frontend.api.tokens import MAX_TEXTS
from frontend.openapi.answers import JSON, NOT_HONOURED, Answers, json_body, ok, operation
from frontend.openapi.fields import DURATION, KEEP_ALIVE, MODEL, TOKEN_ID
from frontend.openapi.openai_fields import GENERATING
from frontend.openapi.openai_inference import CHAT
from frontend.openapi.refusals import ENGINE, FINDING, READING, refusals
from frontend.openapi.schemas import Schema, any_of, array, boolean, integer, ref, request, struct, text

_IDS = array(TOKEN_ID)
_COUNT = integer(minimum=0)
_MODEL_AND_TIME: dict[str, Schema] = {"model": text("As it was sent."), "total_duration": DURATION}

SCHEMAS: dict[str, Schema] = {
    "OpenAITokenizeRequest": request(
        {
            "model": MODEL,
            "prompt": any_of(text(), array(text(), minItems=1, maxItems=MAX_TEXTS)),
            "messages": {
                **CHAT["messages"],
                "description": "A chat, in place of `prompt`: as the model would get it, with what else a "
                "chat completion can say.",
            },
            "add_special_tokens": boolean(
                "Whether those are there too that the model wants at the beginning.", default=True
            ),
        },
        ["model"],
    ),
    "OpenAITokens": struct(
        {
            "tokens": any_of(_IDS, array(_IDS)),
            "count": any_of(_COUNT, array(_COUNT)),
            "max_model_len": integer("Tokens that a request may have.", minimum=0),
        },
        ["tokens", "count", "max_model_len"],
        "Lists for a list of texts.",
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


def _operation(operation_id: str, tag: str, summary: str, takes: str, gives: str, refused: Answers) -> Schema:
    return {
        "post": operation(
            operation_id,
            tag,
            summary,
            ok(
                "Without anything being generated.",
                {JSON: ref(gives)},
                {"X-Drover-Not-Honoured": NOT_HONOURED},
            ),
            refused,
            body=json_body(ref(takes)),
        )
    }


_NATIVE = refusals([*READING, *FINDING, *ENGINE, NotOffered])
_TO, _BACK = "A text's token ids", "The text of token ids"

PATHS: dict[str, Schema] = {
    "/v1/tokenize": _operation(
        "tokenize", "openai", _TO, "OpenAITokenizeRequest", "OpenAITokens", GENERATING
    ),
    "/v1/detokenize": _operation(
        "detokenize", "openai", _BACK, "OpenAIDetokenizeRequest", "OpenAIText", GENERATING
    ),
    "/api/tokenize": _operation(
        "nativeTokenize", "models", _TO, "TokenizeRequest", "TokenizeAnswer", _NATIVE
    ),
    "/api/detokenize": _operation(
        "nativeDetokenize", "models", _BACK, "DetokenizeRequest", "DetokenizeAnswer", _NATIVE
    ),
}
