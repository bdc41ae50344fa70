"""POST /v1/tokenize and /v1/detokenize, as SGLang has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import read_v1_json
from frontend.api.core.go_json import Json, dumps
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.request import read_body
from frontend.api.core.typed_fields import FieldPath, Reader, anything, boolean, read_struct, text
from frontend.api.openai.convert import set_tool_choice, to_chat_request
from frontend.api.openai.fields import HARMLESS
from frontend.api.openai.request import ChatCompletionRequest
from frontend.api.tokens import MAX_TEXTS, Tokens, token_ids
from frontend.api.wire import JSON, ignored_header
from frontend.http.routes import direct_router
from frontend.models.model import CatalogModel


@dataclass(slots=True)
class OpenAITokenizeRequest:
    """A body of /v1/tokenize. `chat`, if any, replaces `texts` and is rendered with the model's template.

    `is_list`: the prompt was a list, and the response's tokens are one too.
    """

    model: str
    texts: list[str] = field(default_factory=list)
    is_list: bool = False
    add_special: bool = True
    chat: ChatCompletionRequest | None = None
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> OpenAITokenizeRequest:
        fields = read_struct(body, "TokenizeRequest", _TOKENIZE, "openai.TokenizeRequest")
        model, prompt = _model_of(fields), fields.get("prompt", "")
        if fields.get("messages") is not None:
            chat = ChatCompletionRequest.read(body)
            return cls(model, chat=chat, ignored=chat.ignored)
        add_special = fields.get("add_special_tokens") is not False
        ignored = Fields(_TOKENIZE.keys(), HARMLESS).without_effect(body)
        return cls(model, _texts(prompt), isinstance(prompt, list), add_special, ignored=ignored)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of token ids. `is_list`: they were sent as a list of lists, and the response is a list too."""

    rows: list[list[int]]
    is_list: bool


@dataclass(slots=True)
class OpenAIDetokenizeRequest:
    """A body of /v1/detokenize."""

    model: str = ""
    tokens: Rows = field(default_factory=lambda: Rows([[]], False))
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> OpenAIDetokenizeRequest:
        request = read_body(cls, body, "DetokenizeRequest", _DETOKENIZE, package="openai")
        if not request.model:
            raise InvalidRequest("model is required")
        request.ignored = Fields(_DETOKENIZE.keys(), HARMLESS).without_effect(body)
        return request


@dataclass(frozen=True, slots=True)
class OpenAITokens:
    tokens: Tokens

    async def tokenize(self, http: Request) -> Response:
        generation = self.tokens.generation
        request = await read_v1_json(http, generation.settings, OpenAITokenizeRequest.read)
        model = await generation.find(http, request.model)
        if request.chat is not None:
            rows = [await self._of_chat(http, model, request.chat)]
        else:
            rows = await self.tokens.ids(http, model, request.texts, request.add_special)
        counts = [len(row) for row in rows]
        return _json(
            {
                "tokens": rows if request.is_list else rows[0],
                "count": counts if request.is_list else counts[0],
                "max_model_len": model.info.context_length,
            },
            request.ignored,
        )

    async def detokenize(self, http: Request) -> Response:
        generation = self.tokens.generation
        request = await read_v1_json(http, generation.settings, OpenAIDetokenizeRequest.read)
        model = await generation.find(http, request.model)
        texts = await self.tokens.texts(http, model, request.tokens.rows)
        return _json({"text": texts if request.tokens.is_list else texts[0]}, request.ignored)

    async def _of_chat(self, http: Request, model: CatalogModel, chat: ChatCompletionRequest) -> list[int]:
        generation, extend = self.tokens.generation, partial(_extend, chat)
        built = await generation.build_request(http, model, to_chat_request(chat), extend)
        return list((await generation.render(http, built)).ids)


def _extend(chat: ChatCompletionRequest, message: pb.GenerateRequest) -> None:
    """Add what shapes the prompt. No caches are used, so that no caller need be named."""
    set_tool_choice(message, chat)
    chat.extras.set_in(message, caller="")


def _model_of(fields: dict[str, object]) -> str:
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model is required")
    return model


def _texts(prompt: object) -> list[str]:
    items = prompt if isinstance(prompt, list) else [prompt]
    texts = [item for item in items if isinstance(item, str)]
    if not texts or len(texts) != len(items) or len(texts) > MAX_TEXTS:
        raise InvalidRequest(f"prompt: it must be a text, or a list of 1 to {MAX_TEXTS} texts")
    return texts


def _rows(value: Json, path: FieldPath) -> Rows:
    items = value if isinstance(value, list) else []
    is_list = bool(items) and all(isinstance(item, list) for item in items)
    if is_list and len(items) > MAX_TEXTS:
        raise InvalidRequest(f"tokens: at most {MAX_TEXTS} lists are possible")
    return Rows([token_ids(row, path) for row in items] if is_list else [token_ids(value, path)], is_list)


def _json(value: object, ignored: list[str]) -> Response:
    return Response(dumps(value) + b"\n", media_type=JSON, headers=ignored_header(ignored))


_TOKENIZE: dict[str, Reader] = {
    "model": text,
    "prompt": anything,
    "messages": anything,
    "add_special_tokens": boolean,
}
_DETOKENIZE: dict[str, Reader] = {"model": text, "tokens": _rows}


def router(tokens: Tokens) -> APIRouter:
    routes = direct_router()
    openai_tokens = OpenAITokens(tokens)
    routes.add_api_route("/v1/tokenize", openai_tokens.tokenize, methods=["POST"])
    routes.add_api_route("/v1/detokenize", openai_tokens.detokenize, methods=["POST"])
    return routes
