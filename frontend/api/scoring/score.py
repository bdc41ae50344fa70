"""POST /score and /v1/score: two things under one path. vLLM's is how relevant one text is to another, pair
by pair; SGLang's, which has `label_token_ids`, how likely each label is after a text (labels.py).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.concurrency import run_in_thread_if_large
from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.ollama_options import UINT32_MAX
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import INLINE_BYTES, read_v1_json
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.keep_alive import set_keep_alive
from frontend.api.core.request import keep_alive, read_body
from frontend.api.core.typed_fields import Reader, boolean, text
from frontend.api.scoring.fields import HARMLESS, WHOLE_CONTEXT, prompt_limit, read_side, token_limit
from frontend.api.scoring.labels import (
    REFUSED,
    LabelRequest,
    Text,
    check_labels,
    read_items,
    read_labels,
    read_query,
    read_temperature,
)
from frontend.api.scoring.service import LABELS, RERANK, Scoring, answered, short, usage
from frontend.http.routes import direct_router
from frontend.middleware.held_bodies import held_body_of
from frontend.models.model import CatalogModel

# Names of the two sides of pairs; later versions of vLLM added further ones.
FIRST_SIDES = ("text_1", "queries", "data_1", "query")
SECOND_SIDES = ("text_2", "documents", "items", "data_2")


@dataclass(slots=True)
class ScoreBody:
    """A body with pairs: one text and one or several others, or as many on each side. With `label_token_ids`
    one with texts and labels: the items, each after the query, or before it (`item_first`).
    """

    model: str = ""
    text_1: list[str] = field(default_factory=list)
    text_2: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    items: list[Text] = field(default_factory=list)
    data_1: list[str] = field(default_factory=list)
    data_2: list[str] = field(default_factory=list)
    query: Text = ""
    label_token_ids: list[list[int]] = field(default_factory=list)
    apply_softmax: bool = False
    temperature: float = 1.0
    return_token_logprobs: bool = False
    item_first: bool = False
    truncate_prompt_tokens: int = WHOLE_CONTEXT
    max_tokens_per_doc: int = 0
    max_tokens_per_query: int = 0
    truncate: bool = True
    use_activation: bool = True
    activation: bool = True
    keep_alive: int | None = None
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> ScoreBody:
        request = read_body(cls, body, "ScoreRequest", _SCORE)
        request.ignored = Fields(_SCORE.keys(), HARMLESS, REFUSED).without_effect(body)
        if request.has_labels:
            check_labels(request.items, request.label_token_ids, request.apply_softmax, request.temperature)
            return request
        first, second = request.first, request.second
        if len(first) not in (1, len(second)):
            raise InvalidRequest(
                f"{len(first)} and {len(second)} texts: the two sides can be 1:1, 1:N or N:N"
            )
        return request

    @property
    def has_labels(self) -> bool:
        return bool(self.label_token_ids)

    @property
    def first(self) -> list[str]:
        return self._side(FIRST_SIDES)

    @property
    def second(self) -> list[str]:
        return self._side(SECOND_SIDES)

    def _side(self, names: Sequence[str]) -> list[str]:
        for name in names:
            value = getattr(self, name)
            texts = value if isinstance(value, list) else [value]
            if texts and all(isinstance(text, str) and text for text in texts):
                return texts
        raise InvalidRequest(f"one of {', '.join(names)} is required")

    def to_proto(self, model: CatalogModel) -> pb.RerankRequest:
        request = pb.RerankRequest(
            model=model.info.names[0],
            adapter=model.adapter,
            queries=self.first,
            documents=self.second,
            truncate=self.truncate,
            query_tokens=min(self.max_tokens_per_query, UINT32_MAX),
            document_tokens=min(self.max_tokens_per_doc, UINT32_MAX),
            raw=not (self.use_activation and self.activation),
        )
        if self.truncate_prompt_tokens != WHOLE_CONTEXT:
            request.pair_tokens = min(self.truncate_prompt_tokens, UINT32_MAX)
        set_keep_alive(request, self.keep_alive)
        return request

    def label_request(self) -> LabelRequest:
        return LabelRequest(
            self.query,
            self.items,
            self.label_token_ids,
            self.item_first,
            self.temperature if self.apply_softmax else None,
            self.return_token_logprobs,
            self.keep_alive,
        )


@dataclass(frozen=True, slots=True)
class ScoreRoutes:
    scoring: Scoring

    async def score(self, http: Request) -> Response:
        body = await read_v1_json(http, self.scoring.settings, ScoreBody.read)
        if body.has_labels:
            return await self._score_labels(http, body)
        model = await self.scoring.find(http, body.model, RERANK)
        response = await self.scoring.rerank(http, model, body.to_proto(model))
        name = body.model or model.name.short
        return await answered(http, lambda: scores(name, response), response, body.ignored)

    async def _score_labels(self, http: Request, body: ScoreBody) -> Response:
        model = await self.scoring.find(http, body.model, LABELS)
        request = body.label_request()
        size = request.prompt_bytes
        # Each item has the query in a prompt of its own.
        held_body_of(http.scope).grow(size)
        message = await run_in_thread_if_large(lambda: request.to_proto(model), size, INLINE_BYTES)
        response = await self.scoring.score(http, model, message)
        name = body.model or model.name.short
        return await answered(http, lambda: request.scores(name, response), response, body.ignored)


def scores(model: str, response: pb.RerankResponse) -> dict[str, object]:
    """In the order of the pairs."""
    return {
        "id": f"score-{secrets.token_hex(16)}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": [
            {"index": index, "object": "score", "score": short(score)}
            for index, score in enumerate(response.scores)
        ],
        "usage": usage(response.prompt_tokens),
    }


_SCORE: dict[str, Reader] = {
    "model": text,
    **dict.fromkeys((*FIRST_SIDES, *SECOND_SIDES), read_side),
    "query": read_query,
    "items": read_items,
    "label_token_ids": read_labels,
    "apply_softmax": boolean,
    "temperature": read_temperature,
    "return_token_logprobs": boolean,
    "item_first": boolean,
    "truncate_prompt_tokens": prompt_limit,
    "max_tokens_per_doc": token_limit,
    "max_tokens_per_query": token_limit,
    "truncate": boolean,
    "use_activation": boolean,
    "activation": boolean,
    "keep_alive": keep_alive,
}


def router(scoring: Scoring) -> APIRouter:
    routes = direct_router()
    handlers = ScoreRoutes(scoring)
    for path in ("/score", "/v1/score"):
        routes.add_api_route(path, handlers.score, methods=["POST"])
    return routes
