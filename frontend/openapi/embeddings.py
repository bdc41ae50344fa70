"""/api/embed and /api/embeddings."""

from __future__ import annotations

from frontend.api.ollama.embed import EMBED_STATUSES, EMBEDDINGS_STATUSES, Statuses
from frontend.openapi.answers import EMBEDDING_HEADERS, JSON, json_body, ok, operation
from frontend.openapi.fields import DURATION, KEEP_ALIVE, MODEL
from frontend.openapi.refusals import ENGINE, FINDING, READING, refusals
from frontend.openapi.schemas import (
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

MOST_TEXTS = 10_000

_VECTOR = array(number())
_COMMON: dict[str, Schema] = {"model": MODEL, "keep_alive": KEEP_ALIVE, "options": ref("Options")}

SCHEMAS: dict[str, Schema] = {
    "EmbedRequest": request(
        {
            **_COMMON,
            "input": any_of(
                text(),
                array(text(), maxItems=MOST_TEXTS),
                about="One text or several. Without any, or with one that is empty, the model is loaded.",
            ),
            "truncate": boolean("Whether texts that are too long lose their end.", default=True),
            "dimensions": integer(
                "How many numbers each vector has. 0 and less, or more than the model makes: all of them.",
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
            "model": text("As it was sent."),
            "embeddings": array(_VECTOR, "In the order of the texts, each of length 1."),
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
        refusals([*READING, *FINDING, *ENGINE], statuses),
        body=json_body(ref(f"{name}Request")),
    )


PATHS: dict[str, Schema] = {
    "/api/embed": {"post": _operation("embed", "Vectors of texts", "Embed", EMBED_STATUSES)},
    "/api/embeddings": {
        "post": _operation(
            "embeddings",
            "The vector of one text, of unit length (of some BERT models as it is)",
            "Embeddings",
            EMBEDDINGS_STATUSES,
        )
    },
}
