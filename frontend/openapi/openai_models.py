"""The other routes of OpenAI's API: embeddings, models, and unsupported ones."""

from __future__ import annotations

from drover.errors import CapabilityMissing, InternalError, InvalidRequest, NotOffered
from frontend.api.embeddings import EMBED_STATUSES
from frontend.openapi.fields import KEEP_ALIVE, MODEL
from frontend.openapi.ollama_embeddings import MAX_TEXTS
from frontend.openapi.openai_common import ERROR
from frontend.openapi.operations import (
    BODY_ERRORS,
    EMBEDDING_HEADERS,
    ENGINE_ERRORS,
    JSON,
    MODEL_ERRORS,
    error_responses,
    json_body,
    ok,
    operation,
)
from frontend.openapi.schema import (
    Schema,
    any_of,
    array,
    integer,
    number,
    ref,
    request,
    struct,
    text,
)

_CARD: dict[str, Schema] = {
    "id": text("The model's name."),
    "object": text(const="model"),
    "created": integer("Unix time in seconds.", minimum=0),
    "owned_by": text("The name's namespace.", examples=["library"]),
}
_OF_AN_ADAPTER: dict[str, Schema] = {
    "root": text("Only of a model with an adapter: the adapter's digest."),
    "parent": text("Only of a model with an adapter: the model that the adapter changes."),
}
_ID: Schema = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "A model's name, which may contain slashes.",
    "schema": text(minLength=1),
}
_EMBEDDING: dict[str, Schema] = {
    "object": text(const="embedding"),
    "embedding": any_of(array(number()), text("Little-endian 32-bit floats as base64.")),
    "index": integer(minimum=0),
}
_USED = struct(
    {"prompt_tokens": integer(minimum=0), "total_tokens": integer(minimum=0)},
    ["prompt_tokens", "total_tokens"],
)


def _list_of(item: Schema, **more: Schema) -> Schema:
    members: dict[str, Schema] = {"object": text(const="list"), "data": array(item), **more}
    return struct(members, [*members])


SCHEMAS: dict[str, Schema] = {
    "OpenAIEmbedRequest": request(
        {
            "model": MODEL,
            "input": any_of(text(), array(text(), minItems=1, maxItems=MAX_TEXTS)),
            "dimensions": integer(
                "Number of elements of each vector. 0 or less, or more than the model's: all of them.",
                default=0,
            ),
            "encoding_format": text(enum=["float", "base64", ""], default="float"),
            "keep_alive": KEEP_ALIVE,
            "options": ref("Options"),
        },
        ["model", "input"],
    ),
    "OpenAIEmbeddings": _list_of(
        struct(_EMBEDDING, [*_EMBEDDING]), model=text("The model's name as requested."), usage=_USED
    ),
    "OpenAIModel": struct({**_CARD, **_OF_AN_ADAPTER}, [*_CARD]),
}

PATHS: dict[str, Schema] = {
    "/v1/embeddings": {
        "post": operation(
            "createEmbedding",
            "openai",
            "Embed texts",
            ok("The vectors.", {JSON: ref("OpenAIEmbeddings")}, EMBEDDING_HEADERS),
            error_responses([*BODY_ERRORS, *MODEL_ERRORS, *ENGINE_ERRORS, NotOffered], EMBED_STATUSES, ERROR),
            body=json_body(ref("OpenAIEmbedRequest")),
        )
    },
    "/v1/models": {
        "get": operation(
            "openaiModels",
            "openai",
            "List all models",
            ok("Newest first.", {JSON: _list_of(ref("OpenAIModel"))}),
            error_responses([InternalError], error=ERROR),
        )
    },
    "/v1/models/{id}": {
        "get": operation(
            "openaiModel",
            "openai",
            "Get a model",
            ok("The model, under the requested name.", {JSON: ref("OpenAIModel")}),
            error_responses([InvalidRequest, *MODEL_ERRORS, NotOffered, InternalError], error=ERROR),
            parameters=[_ID],
        )
    },
    "/v1/audio/transcriptions": {
        "post": operation(
            "transcribe",
            "openai",
            "Fails: no model has this capability",
            error_responses([*BODY_ERRORS, CapabilityMissing], error=ERROR),
        )
    },
}
