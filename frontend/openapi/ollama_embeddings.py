"""/api/embed and /api/embeddings."""

from __future__ import annotations

from frontend.api.embeddings import EMBED_STATUSES, Statuses
from frontend.api.ollama.embed import EMBEDDINGS_STATUSES
from frontend.openapi.fields import DURATION, KEEP_ALIVE, MODEL
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
    boolean,
    integer,
    number,
    ref,
    request,
    struct,
    text,
)

MAX_TEXTS = 10_000

_VECTOR = array(number())
_COMMON: dict[str, Schema] = {"model": MODEL, "keep_alive": KEEP_ALIVE, "options": ref("Options")}

SCHEMAS: dict[str, Schema] = {
    "EmbedRequest": request(
        {
            **_COMMON,
            "input": any_of(
                text(),
                array(text(), maxItems=MAX_TEXTS),
                about="One text or several. Without any, or with an empty one, the model is loaded.",
            ),
            "truncate": boolean("Cut off the end of texts that exceed the context.", default=True),
            "dimensions": integer(
                "Number of elements of each vector. 0 or less, or more than the model's: all of them.",
                default=0,
            ),
        },
        ["model"],
    ),
    "EmbeddingsRequest": request(
        {**_COMMON, "prompt": text("If empty, the model is loaded.", default="")}, ["model"]
    ),
    "EmbedAnswer": struct(
        {
            "model": text("The model's name as requested."),
            "embeddings": array(_VECTOR, "Unit vectors, in the order of the texts."),
            "total_duration": DURATION,
            "load_duration": DURATION,
            "prompt_eval_count": integer("Tokens of the texts.", minimum=1),
        },
        ["model", "embeddings"],
    ),
    "EmbeddingsAnswer": struct({"embedding": _VECTOR}, ["embedding"]),
}


def _operation(operation_id: str, summary: str, name: str, statuses: Statuses) -> Schema:
    return operation(
        operation_id,
        "embeddings",
        summary,
        ok("The vectors.", {JSON: ref(f"{name}Answer")}, EMBEDDING_HEADERS),
        error_responses([*BODY_ERRORS, *MODEL_ERRORS, *ENGINE_ERRORS], statuses),
        body=json_body(ref(f"{name}Request")),
    )


PATHS: dict[str, Schema] = {
    "/api/embed": {"post": _operation("embed", "Embed texts", "Embed", EMBED_STATUSES)},
    "/api/embeddings": {
        "post": _operation(
            "embeddings",
            "Embed one text: a unit vector, except with some BERT models",
            "Embeddings",
            EMBEDDINGS_STATUSES,
        )
    },
}
