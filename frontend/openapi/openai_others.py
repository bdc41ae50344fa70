"""The other routes of OpenAI's dialect: embeddings, models, and what is only said not to be possible."""

from __future__ import annotations

from drover.errors import CapabilityMissing, InternalError, InvalidRequest, NotOffered
from frontend.api.ollama.embed import EMBED_STATUSES
from frontend.openapi.answers import EMBEDDING_HEADERS, JSON, json_body, ok, operation
from frontend.openapi.embeddings import MOST_TEXTS
from frontend.openapi.fields import KEEP_ALIVE, MODEL
from frontend.openapi.openai_fields import ERROR, refused
from frontend.openapi.refusals import ENGINE, FINDING, READING, refusals
from frontend.openapi.schemas import (
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
    "id": text("Its name."),
    "object": text(const="model"),
    "created": integer("Unix time in seconds.", minimum=0),
    "owned_by": text("The name's namespace.", examples=["library"]),
}
_ID: Schema = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "A model's name, which may have slashes.",
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
            "input": any_of(text(), array(text(), minItems=1, maxItems=MOST_TEXTS)),
            "dimensions": integer(
                "How many numbers each vector has. 0 and less, or more than the model makes: all of them.",
                default=0,
            ),
            "encoding_format": text(enum=["float", "base64", ""], default="float"),
            "keep_alive": KEEP_ALIVE,
            "options": ref("Options"),
        },
        ["model", "input"],
    ),
    "OpenAIEmbeddings": _list_of(
        struct(_EMBEDDING, [*_EMBEDDING]), model=text("As it was sent."), usage=_USED
    ),
    "OpenAIModel": struct(_CARD, [*_CARD]),
    "RerankRequest": request({"model": MODEL}, ["model"]),
}

PATHS: dict[str, Schema] = {
    "/v1/embeddings": {
        "post": operation(
            "createEmbedding",
            "openai",
            "Vectors of texts",
            ok("The vectors.", {JSON: ref("OpenAIEmbeddings")}, EMBEDDING_HEADERS),
            refusals([*READING, *FINDING, *ENGINE, NotOffered], EMBED_STATUSES, ERROR),
            body=json_body(ref("OpenAIEmbedRequest")),
        )
    },
    "/v1/models": {
        "get": operation(
            "openaiModels",
            "openai",
            "All models",
            ok("The newest first.", {JSON: _list_of(ref("OpenAIModel"))}),
            refusals([InternalError], error=ERROR),
        )
    },
    "/v1/models/{id}": {
        "get": operation(
            "openaiModel",
            "openai",
            "One model",
            ok("The model, under the name that was asked for.", {JSON: ref("OpenAIModel")}),
            refusals([InvalidRequest, *FINDING, NotOffered, InternalError], error=ERROR),
            parameters=[_ID],
        )
    },
    "/v1/rerank": {
        "post": operation(
            "rerank",
            "openai",
            "Says that no model can do that",
            refused(CapabilityMissing),
            body=json_body(ref("RerankRequest")),
        )
    },
    "/v1/audio/transcriptions": {
        "post": operation(
            "transcribe",
            "openai",
            "Says that no model can do that",
            refusals([*READING, CapabilityMissing], error=ERROR),
        )
    },
}
