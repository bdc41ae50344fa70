"""The neutral embedding request: its bodies, and its conversion from and to the contract's messages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import orjson

from drover.errors import EngineFailed, InvalidRequest
from drover.ollama_options import UINT32_MAX
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import Json
from frontend.api.core.go_values import float32_array, float64_array
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.keep_alive import set_keep_alive
from frontend.api.core.options import Options
from frontend.api.core.request import check_count, keep_alive, read_body
from frontend.api.core.typed_fields import FieldPath, Reader, boolean, integer, mapping, text
from frontend.models.model import CatalogModel

_RAW_FAMILY = "bert"
# Some 40 MB of text, which takes a core seconds to encode.
_MAX_NUMBERS = 4_000_000
# Clients send whole collections at once; a larger one takes several requests.
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


def read_texts(value: Json, path: FieldPath) -> list[str]:
    """One text or a list of texts. Raises InvalidRequest for any other value, or too many."""
    texts = texts_of(value, path)
    if texts is None:
        raise not_texts()
    return texts


def texts_of(value: Json, path: FieldPath) -> list[str] | None:
    """One text or a list of texts, or None for any other value. A single empty text embeds nothing; in a list
    it is one of the texts. Raises InvalidRequest for too many.
    """
    if isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, list):
        return None
    check_count(path.field, len(value), _MAX_TEXTS)
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


def embed_to_proto(request: EmbedRequest, options: Options, model: CatalogModel) -> pb.EmbedRequest:
    """Raises InvalidRequest for more numbers than one response may have."""
    _check_numbers(len(request.input), request.dimensions, model.info.embedding_length)
    result = _common(options, request.keep_alive, model)
    result.texts.extend(request.input)
    result.truncate = request.truncate
    result.dimensions = min(max(0, request.dimensions), UINT32_MAX)
    return result


def embeddings_to_proto(request: EmbeddingsRequest, options: Options, model: CatalogModel) -> pb.EmbedRequest:
    """The older route truncates nothing. Its vector is as Ollama's runner makes it: of unit length, except
    for BERT models whose metadata does not ask for normalisation.
    """
    result = _common(options, request.keep_alive, model)
    result.texts.append(request.prompt)
    result.truncate = False
    result.normalize = not _is_raw(model.info)
    return result


def _is_raw(info: pb.Model) -> bool:
    if info.family != _RAW_FAMILY:
        return False
    details = orjson.loads(info.model_info_json or b"{}")
    return not details.get(f"{_RAW_FAMILY}.normalize_embeddings", False)


def _common(options: Options, keep_alive_ns: int | None, model: CatalogModel) -> pb.EmbedRequest:
    result = pb.EmbedRequest(model=model.info.names[0])
    if options.num_ctx is not None:
        result.num_ctx = max(0, options.num_ctx)
    set_keep_alive(result, keep_alive_ns)
    return result


def _check_numbers(texts: int, dimensions: int, whole: int) -> None:
    """`whole`: the model's dimensions, 0 if unknown."""
    each = min(dimensions, whole) if dimensions > 0 else whole
    if texts * each > _MAX_NUMBERS:
        raise InvalidRequest(
            f"{texts} texts with {each} dimensions each are more than {_MAX_NUMBERS} numbers; "
            "send them in several requests"
        )


def vector(embedding: pb.Embedding) -> bytes:
    """Encode a vector. Raises EngineFailed for values that are not finite."""
    return float32_array(finite(embedding))


def older_vector(embedding: pb.Embedding) -> bytes:
    """Encode a vector of the older route, which has 64-bit floats."""
    return float64_array(finite(embedding))


def finite(embedding: pb.Embedding) -> list[float]:
    values = list(embedding.values)
    if not all(map(math.isfinite, values)):
        raise EngineFailed("embedding contains NaN or Inf values")
    return values
