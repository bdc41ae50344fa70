"""POST /rerank, /v1/rerank and /v2/rerank: one body and one response that clients of Cohere, Jina, vLLM,
SGLang, llama.cpp and TEI understand.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.ollama_options import UINT32_MAX
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import read_v1_json
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.keep_alive import set_keep_alive
from frontend.api.core.request import check_count, keep_alive, read_body
from frontend.api.core.typed_fields import FieldPath, Reader, boolean, integer, text
from frontend.api.scoring.fields import (
    HARMLESS,
    WHOLE_CONTEXT,
    document_text,
    prompt_limit,
    read_documents,
    read_query,
    token_limit,
)
from frontend.api.scoring.service import RERANK, Scoring, answered, short, usage
from frontend.http.routes import direct_router
from frontend.models.model import CatalogModel

_SIDES = ("left", "right")
# Each is looked for in each document.
MAX_RANK_FIELDS = 100


@dataclass(slots=True)
class RerankBody:
    """A request body. `texts`: TEI's name of the documents, whose response has its shape. Of words for the
    same thing (`instruction`, `instruct`), the one that is set counts.
    """

    model: str = ""
    query: str = ""
    documents: list[Json] = field(default_factory=list)
    texts: list[Json] = field(default_factory=list)
    top_n: int = 0
    return_documents: bool | None = None
    return_text: bool = False
    rank_fields: list[str] = field(default_factory=list)
    max_tokens_per_doc: int = 0
    max_tokens_per_query: int = 0
    truncate_prompt_tokens: int = WHOLE_CONTEXT
    truncation_side: str = "right"
    truncation_direction: str = "right"
    truncate: bool = True
    instruction: str = ""
    instruct: str = ""
    raw_scores: bool = False
    use_activation: bool = True
    activation: bool = True
    keep_alive: int | None = None
    # Each document's text.
    contents: list[str] = field(default_factory=list)
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> RerankBody:
        request = read_body(cls, body, "RerankRequest", _RERANK)
        if not request.query:
            raise InvalidRequest("Query cannot be empty")
        documents = [document_text(each, request.rank_fields, "documents") for each in request.documents]
        texts = [document_text(each, request.rank_fields, "texts") for each in request.texts]
        if not (contents := texts or documents):
            raise InvalidRequest("Documents cannot be empty")
        request.contents = contents
        request.ignored = Fields(_RERANK.keys(), HARMLESS).without_effect(body)
        request.ignored += [
            name for name in ("truncation_side", "truncation_direction") if getattr(request, name) == "left"
        ]
        return request

    @property
    def is_tei(self) -> bool:
        return bool(self.texts)

    def to_proto(self, model: CatalogModel) -> pb.RerankRequest:
        request = pb.RerankRequest(
            model=model.info.names[0],
            adapter=model.adapter,
            queries=[self.query],
            documents=self.contents,
            truncate=self.truncate,
            query_tokens=min(self.max_tokens_per_query, UINT32_MAX),
            document_tokens=min(self.max_tokens_per_doc, UINT32_MAX),
            raw=self.raw_scores or not (self.use_activation and self.activation),
            instruction=self.instruction or self.instruct,
        )
        if self.truncate_prompt_tokens != WHOLE_CONTEXT:
            request.pair_tokens = min(self.truncate_prompt_tokens, UINT32_MAX)
        set_keep_alive(request, self.keep_alive)
        return request


@dataclass(frozen=True, slots=True)
class RerankRoutes:
    scoring: Scoring

    async def rerank(self, http: Request) -> Response:
        return await self._rerank(http, with_documents=True)

    async def rerank_v2(self, http: Request) -> Response:
        """Cohere's second version returns no documents."""
        return await self._rerank(http, with_documents=False)

    async def _rerank(self, http: Request, with_documents: bool) -> Response:
        body = await read_v1_json(http, self.scoring.settings, RerankBody.read)
        model = await self.scoring.find(http, body.model, RERANK)
        response = await self.scoring.rerank(http, model, body.to_proto(model))
        if body.return_documents is not None:
            with_documents = body.return_documents

        def shape() -> object:
            if body.is_tei:
                return tei_results(body, response)
            return results(body, model, response, with_documents)

        return await answered(http, shape, response, body.ignored)


def results(
    body: RerankBody, model: CatalogModel, response: pb.RerankResponse, with_documents: bool
) -> dict[str, object]:
    """The response that all clients but TEI's understand: each reads its own part of it."""
    ranked: list[dict[str, object]] = [
        {"index": index, "relevance_score": short(score)}
        | ({"document": {"text": body.contents[index]}} if with_documents else {})
        for index, score in best(response.scores, body.top_n)
    ]
    tokens = response.prompt_tokens
    return {
        "id": f"rerank-{secrets.token_hex(16)}",
        "object": "list",
        "model": body.model or model.name.short,
        "results": ranked,
        "usage": usage(tokens),
        "meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": tokens}},
    }


def tei_results(body: RerankBody, response: pb.RerankResponse) -> list[dict[str, object]]:
    return [
        {"index": index, "score": short(score)} | ({"text": body.contents[index]} if body.return_text else {})
        for index, score in best(response.scores, body.top_n)
    ]


def best(scores: Sequence[float], most: int) -> list[tuple[int, float]]:
    """Index and score of the best `most` documents (0: of all), the best first."""
    ranked = sorted(enumerate(scores), key=lambda each: -each[1])
    return ranked[:most] if most else ranked


def _top_n(value: Json, path: FieldPath) -> int:
    """0 is all of them, as in vLLM. Raises InvalidRequest, in SGLang's words for a negative number."""
    if (number := integer(value, path)) < 0:
        raise InvalidRequest("parameter top_n should be larger than 0.")
    return number


def _side(value: Json, path: FieldPath) -> str:
    side = text(value, path).lower()
    if side not in _SIDES:
        raise InvalidRequest(f"{path.field}: it must be one of {', '.join(_SIDES)}")
    return side


def _names(value: Json, path: FieldPath) -> list[str]:
    items = value if isinstance(value, list) else [None]
    check_count(path.field, len(items), MAX_RANK_FIELDS)
    names = [item for item in items if isinstance(item, str)]
    if len(names) != len(items):
        raise InvalidRequest(f"{path.field}: it must be a list of names")
    return names


_RERANK: dict[str, Reader] = {
    "model": text,
    "query": read_query,
    "documents": read_documents,
    "texts": read_documents,
    "top_n": _top_n,
    "return_documents": boolean,
    "return_text": boolean,
    "rank_fields": _names,
    "max_tokens_per_doc": token_limit,
    "max_tokens_per_query": token_limit,
    "truncate_prompt_tokens": prompt_limit,
    "truncation_side": _side,
    "truncation_direction": _side,
    "truncate": boolean,
    "instruction": text,
    "instruct": text,
    "raw_scores": boolean,
    "use_activation": boolean,
    "activation": boolean,
    "keep_alive": keep_alive,
}


def router(scoring: Scoring) -> APIRouter:
    routes = direct_router()
    handlers = RerankRoutes(scoring)
    for path in ("/rerank", "/v1/rerank"):
        routes.add_api_route(path, handlers.rerank, methods=["POST"])
    routes.add_api_route("/v2/rerank", handlers.rerank_v2, methods=["POST"])
    return routes
