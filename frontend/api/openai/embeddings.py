"""POST /v1/embeddings (ollama-contract.md, "OpenAI: embeddings")."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from sys import byteorder

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest, ModelNotFound
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import read_v1_json
from frontend.api.core.embedding import EmbedRequest, embed_to_proto, finite, not_texts, texts_of, vector
from frontend.api.core.go_json import Json, dumps_text
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.options import Options, layered
from frontend.api.core.request import keep_alive, read_body
from frontend.api.core.typed_fields import FieldPath, Reader, integer, mapping, text
from frontend.api.embeddings import EMBED_STATUSES, Embeddings, with_statuses
from frontend.api.openai.errors import error_response
from frontend.api.openai.fields import HARMLESS
from frontend.http.routes import direct_router

_FORMATS = ("float", "base64")


@dataclass(slots=True)
class OpenAIEmbedRequest:
    """A request body.

    `input`: at least one text, each of which may be empty. None: a value of another type, which Ollama
    refuses after reading the body; only then does the error end with a line feed.
    """

    model: str = ""
    input: list[str] | None = field(default_factory=list)
    dimensions: int = 0
    encoding_format: str = "float"
    keep_alive: int | None = None
    options: dict[str, Json] = field(default_factory=dict)
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> OpenAIEmbedRequest:
        request = read_body(cls, body, "EmbedRequest", _EMBED, package="openai")
        if request.input == []:
            raise InvalidRequest("invalid input")
        request.ignored = Fields(_EMBED.keys(), HARMLESS).without_effect(body)
        return request

    def texts(self) -> list[str]:
        """The input. Raises InvalidRequest for one of another type."""
        if self.input is None:
            raise not_texts()
        return self.input


@dataclass(frozen=True, slots=True)
class OpenAIEmbeddings:
    native: Embeddings

    async def embed(self, http: Request) -> Response:
        return await with_statuses(self._embed(http), EMBED_STATUSES, http, error_response)

    async def _embed(self, http: Request) -> Response:
        request = await read_v1_json(http, self.native.settings, OpenAIEmbedRequest.read)
        texts = request.texts()
        if not request.model:
            raise ModelNotFound("model '' not found")
        model = await self.native.find(http, request.model)
        options = Options.read(layered(model.parameters, request.options))
        native = EmbedRequest(request.model, texts, True, request.dimensions, request.keep_alive)
        return await self.native.answer(
            http,
            model,
            embed_to_proto(native, options, model),
            lambda response, vectors: _body(request.model, response, vectors),
            _base64_vector if request.encoding_format == "base64" else vector,
            [*request.ignored, *options.not_honoured(model.info.context_length)],
        )


def _base64_vector(embedding: pb.Embedding) -> bytes:
    """The vector as base64 of little-endian 32-bit floats. Raises EngineFailed for an invalid vector."""
    numbers = array("f", finite(embedding))
    if byteorder == "big":
        numbers.byteswap()
    return b'"%b"' % base64.b64encode(numbers.tobytes())


def _body(model: str, response: pb.EmbedResponse, vectors: Sequence[bytes]) -> bytes:
    data = b",".join(
        b'{"object":"embedding","embedding":%b,"index":%d}' % (each, index)
        for index, each in enumerate(vectors)
    )
    tokens = response.prompt_tokens
    return b'{"object":"list","data":[%b],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}\n' % (
        data,
        dumps_text(model),
        tokens,
        tokens,
    )


def _input(value: Json, path: FieldPath) -> list[str] | None:
    return [""] if value == "" else texts_of(value, path)


def _encoding(value: Json, path: FieldPath) -> str:
    encoding = text(value, path) or "float"
    if encoding.lower() not in _FORMATS:
        raise InvalidRequest(
            f"Invalid value for 'encoding_format' = {encoding}. Supported values: ['float', 'base64']."
        )
    return encoding.lower()


_EMBED: dict[str, Reader] = {
    "model": text,
    "input": _input,
    "dimensions": integer,
    "encoding_format": _encoding,
    "keep_alive": keep_alive,
    "options": mapping,
}


def router(native: Embeddings) -> APIRouter:
    routes = direct_router()
    routes.add_api_route("/v1/embeddings", OpenAIEmbeddings(native).embed, methods=["POST"])
    return routes
