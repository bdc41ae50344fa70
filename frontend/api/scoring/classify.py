"""POST /classify and /v1/classify, as vLLM and SGLang have them."""

from __future__ import annotations

import secrets
import time
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
from frontend.api.core.typed_fields import FieldPath, Reader, boolean, text
from frontend.api.scoring.fields import HARMLESS, MAX_TEXTS, WHOLE_CONTEXT, prompt_limit
from frontend.api.scoring.service import CLASSIFY, Scoring, answered, short, usage
from frontend.http.routes import direct_router
from frontend.models.model import CatalogModel

Input = str | list[int]
"""A text, or its token ids."""


@dataclass(slots=True)
class ClassifyBody:
    model: str = ""
    input: list[Input] = field(default_factory=list)
    truncate_prompt_tokens: int = WHOLE_CONTEXT
    truncate: bool = True
    use_activation: bool = True
    activation: bool = True
    keep_alive: int | None = None
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> ClassifyBody:
        request = read_body(cls, body, "ClassifyRequest", _CLASSIFY)
        if not request.input:
            raise InvalidRequest("Input cannot be empty")
        request.ignored = Fields(_CLASSIFY.keys(), HARMLESS).without_effect(body)
        return request

    def to_proto(self, model: CatalogModel) -> pb.ClassifyRequest:
        request = pb.ClassifyRequest(
            model=model.info.names[0],
            inputs=[_input_to_proto(each) for each in self.input],
            truncate=self.truncate,
            raw=not (self.use_activation and self.activation),
        )
        if self.truncate_prompt_tokens != WHOLE_CONTEXT:
            request.text_tokens = min(self.truncate_prompt_tokens, UINT32_MAX)
        set_keep_alive(request, self.keep_alive)
        return request


def _input_to_proto(given: Input) -> pb.ClassifyInput:
    if isinstance(given, str):
        return pb.ClassifyInput(text=given)
    return pb.ClassifyInput(tokens=pb.TokenIds(ids=given))


@dataclass(frozen=True, slots=True)
class ClassifyRoutes:
    scoring: Scoring

    async def classify(self, http: Request) -> Response:
        body = await read_v1_json(http, self.scoring.settings, ClassifyBody.read)
        model = await self.scoring.find(http, body.model, CLASSIFY)
        response = await self.scoring.classify(http, model, body.to_proto(model))
        name = body.model or model.name.short
        return await answered(http, lambda: classes(name, response), response, body.ignored)


def classes(model: str, response: pb.ClassifyResponse) -> dict[str, object]:
    labels = list(response.labels)
    return {
        "id": f"classify-{secrets.token_hex(16)}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": [
            _classified(index, labels, list(each.probabilities))
            for index, each in enumerate(response.classifications)
        ],
        "usage": {
            **usage(response.prompt_tokens),
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }


def _classified(index: int, labels: Sequence[str], probabilities: Sequence[float]) -> dict[str, object]:
    likeliest = max(range(len(labels)), key=probabilities.__getitem__)
    return {
        "index": index,
        "label": labels[likeliest],
        "probs": [short(each) for each in probabilities],
        "num_classes": len(labels),
    }


def _inputs(value: Json, path: FieldPath) -> list[Input]:
    """One text or several, or token ids of one or several. Raises InvalidRequest, in SGLang's words."""
    if value == "" or value == []:
        raise InvalidRequest("Input cannot be empty")
    if isinstance(value, str):
        if not value.strip():
            raise InvalidRequest("Input cannot be empty or whitespace only")
        return [value]
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]string")
    if all(isinstance(item, list) for item in value):
        check_count(path.field, len(value), MAX_TEXTS)
        return [_token_ids(item) for item in value]
    if isinstance(value[0], str):
        check_count(path.field, len(value), MAX_TEXTS)
        return [_text(index, item) for index, item in enumerate(value)]
    return [_token_ids(value)]


def _text(index: int, item: Json) -> str:
    if not isinstance(item, str):
        raise InvalidRequest("All items in input list must be strings")
    if not item.strip():
        raise InvalidRequest(f"Input at index {index} cannot be empty or whitespace only")
    return item


def _token_ids(items: Json) -> list[int]:
    if not isinstance(items, list) or not items:
        raise InvalidRequest("Input cannot be empty")
    ids: list[int] = []
    for index, item in enumerate(items):
        if type(item) is not int:
            raise InvalidRequest("All items in input list must be integers")
        if item < 0:
            raise InvalidRequest(f"Token ID at index {index} must be non-negative")
        if item > UINT32_MAX:
            raise InvalidRequest(f"Token ID at index {index} is not in the model's vocabulary")
        ids.append(item)
    return ids


_CLASSIFY: dict[str, Reader] = {
    "model": text,
    "input": _inputs,
    "truncate_prompt_tokens": prompt_limit,
    "truncate": boolean,
    "use_activation": boolean,
    "activation": boolean,
    "keep_alive": keep_alive,
}


def router(scoring: Scoring) -> APIRouter:
    routes = direct_router()
    handlers = ClassifyRoutes(scoring)
    for path in ("/classify", "/v1/classify"):
        routes.add_api_route(path, handlers.classify, methods=["POST"])
    return routes
