"""POST /api/tokenize and /api/detokenize, as proposed to upstream (ollama/ollama#12030)."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest
from frontend.api.core.body import read_json
from frontend.api.core.go_json import Json, dumps
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.request import keep_alive, read_body
from frontend.api.core.typed_fields import Reader, text
from frontend.api.tokens import Tokens, token_ids
from frontend.api.wire import JSON, ignored_header
from frontend.http.routes import direct_router
from frontend.models.model import CatalogModel
from frontend.observability.request_record import record_of


@dataclass(slots=True)
class TokenizeRequest:
    model: str = ""
    content: str = ""
    keep_alive: int | None = None
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> TokenizeRequest:
        request = read_body(cls, body, "TokenizeRequest", _TOKENIZE)
        request.ignored = Fields(_TOKENIZE.keys()).without_effect(body)
        return request


@dataclass(slots=True)
class DetokenizeRequest:
    model: str = ""
    tokens: list[int] = field(default_factory=list)
    keep_alive: int | None = None
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> DetokenizeRequest:
        request = read_body(cls, body, "DetokenizeRequest", _DETOKENIZE)
        request.ignored = Fields(_DETOKENIZE.keys()).without_effect(body)
        return request


@dataclass(frozen=True, slots=True)
class OllamaTokens:
    tokens: Tokens

    async def tokenize(self, http: Request) -> Response:
        request = await read_json(http, self.tokens.generation.settings, TokenizeRequest.read)
        model = await self._ready(http, request.model, request.keep_alive)
        (ids,) = await self.tokens.ids(http, model, [request.content], add_special=False)
        return _json({"model": request.model, "tokens": ids}, http, request.ignored)

    async def detokenize(self, http: Request) -> Response:
        request = await read_json(http, self.tokens.generation.settings, DetokenizeRequest.read)
        model = await self._ready(http, request.model, request.keep_alive)
        (content,) = await self.tokens.texts(http, model, [request.tokens])
        return _json({"model": request.model, "content": content}, http, request.ignored)

    async def _ready(self, http: Request, name: str, keep_alive_ns: int | None) -> CatalogModel:
        """Find the model, and load it if the request has a `keep_alive`; otherwise the worker loads it."""
        if not name:
            raise InvalidRequest("model is required")
        model = await self.tokens.generation.find(http, name)
        if keep_alive_ns is not None:
            await self.tokens.generation.load(http, model, keep_alive_ns)
        return model


def _json(fields: dict[str, object], http: Request, ignored: list[str]) -> Response:
    total_ns = max(1, record_of(http.scope).elapsed_ns)
    body = dumps(fields | {"total_duration": total_ns})
    return Response(body, media_type=JSON, headers=ignored_header(ignored))


_TOKENIZE: dict[str, Reader] = {"model": text, "content": text, "keep_alive": keep_alive}
_DETOKENIZE: dict[str, Reader] = {"model": text, "tokens": token_ids, "keep_alive": keep_alive}


def router(tokens: Tokens) -> APIRouter:
    routes = direct_router()
    ollama_tokens = OllamaTokens(tokens)
    routes.add_api_route("/api/tokenize", ollama_tokens.tokenize, methods=["POST"])
    routes.add_api_route("/api/detokenize", ollama_tokens.detokenize, methods=["POST"])
    return routes
