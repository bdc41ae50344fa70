"""The bodies of /api/embed and /api/embeddings."""

from __future__ import annotations

from dataclasses import dataclass, field

from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.request import check_count, keep_alive, read_body
from frontend.api.core.typed_fields import FieldPath, Reader, boolean, integer, mapping, text

# Clients send whole collections at once; the rest of a larger one can come in a second request.
_MAX_TEXTS = 10_000


@dataclass(slots=True)
class EmbedRequest:
    model: str = ""
    input: list[str] = field(default_factory=list)
    truncate: bool = True
    dimensions: int = 0
    keep_alive: int | None = None
    options: dict[str, Json] = field(default_factory=dict)
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> EmbedRequest:
        request = read_body(cls, body, "EmbedRequest", _EMBED)
        request.ignored = Fields(_EMBED.keys()).without_effect(body)
        return request


@dataclass(slots=True)
class EmbeddingsRequest:
    model: str = ""
    prompt: str = ""
    keep_alive: int | None = None
    options: dict[str, Json] = field(default_factory=dict)
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> EmbeddingsRequest:
        request = read_body(cls, body, "EmbeddingRequest", _EMBEDDINGS)
        request.ignored = Fields(_EMBEDDINGS.keys()).without_effect(body)
        return request


def read_texts(value: Json, place: FieldPath) -> list[str]:
    """Raises InvalidRequest for what is neither a text nor a list of texts."""
    texts = texts_of(value, place)
    if texts is None:
        raise not_texts()
    return texts


def texts_of(value: Json, place: FieldPath) -> list[str] | None:
    """None: it is neither a text nor a list of texts. An empty text by itself is nothing to embed; in a list
    it is one of the texts. Raises InvalidRequest for too many.
    """
    if isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, list):
        return None
    check_count(value, place, _MAX_TEXTS)
    texts = [item for item in value if isinstance(item, str)]
    return texts if len(texts) == len(value) else None


def not_texts() -> InvalidRequest:
    return InvalidRequest("invalid input type")


_EMBED: dict[str, Reader] = {
    "model": text,
    "input": read_texts,
    "truncate": boolean,
    "dimensions": integer,
    "keep_alive": keep_alive,
    "options": mapping,
}
_EMBEDDINGS: dict[str, Reader] = {
    "model": text,
    "prompt": text,
    "keep_alive": keep_alive,
    "options": mapping,
}
