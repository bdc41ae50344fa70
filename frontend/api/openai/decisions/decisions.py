"""The route, and OpenAI's form of the answers."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import read_v1_json
from frontend.api.core.go_json import Json, dumps
from frontend.api.decisions import DecisionRequest, Decisions, decided
from frontend.api.openai.decisions.request import NamedQuestion, OpenAIDecisionRequest
from frontend.api.openai.decisions.sglang import FIELDS, SglangDecisionRequest, is_sglang, sglang_body
from frontend.decision.answer import Answer
from frontend.http.routes import direct_router


@dataclass(frozen=True, slots=True)
class OpenAIDecisions:
    decisions: Decisions

    async def create(self, http: Request) -> Response:
        request = await read_v1_json(http, self.decisions.generation.settings, read_decisions)
        if isinstance(request, SglangDecisionRequest):
            return await self._as_sglang(http, request)
        wanted = DecisionRequest(
            request.model,
            request.state.text,
            [each.question for each in request.questions],
            request.state.images,
            request.keep_alive,
        )
        response = await self.decisions.decide(http, wanted)
        return decided(http, openai_body(request, response), request.ignored)

    async def _as_sglang(self, http: Request, request: SglangDecisionRequest) -> Response:
        wanted = DecisionRequest(
            request.model,
            request.state,
            list(request.questions.values()),
            request.images,
            return_prompt_ids=request.return_prompt_ids,
        )
        response = await self.decisions.decide(http, wanted)
        return decided(http, sglang_body(request, response), ())


def read_decisions(body: Json) -> OpenAIDecisionRequest | SglangDecisionRequest:
    """Read a body of either shape. The names of its fields match in any letter case, as on all routes."""
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    fields = {key if key in FIELDS else key.lower(): value for key, value in body.items()}
    return SglangDecisionRequest.read(fields) if is_sglang(fields) else OpenAIDecisionRequest.read(fields)


def openai_body(request: OpenAIDecisionRequest, response: pb.ScoreResponse) -> bytes:
    answers = [
        _answer(question, Answer.of(result.logprobs))
        for question, result in zip(request.questions, response.results, strict=True)
    ]
    tokens = response.prompt_tokens
    return dumps(
        {
            "model": request.model,
            "answers": answers,
            "usage": {
                "input_tokens": tokens,
                "input_tokens_details": {"cached_tokens": response.cached_tokens, "cache_write_tokens": 0},
                "output_tokens": 0,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": tokens,
            },
        }
    )


def _answer(named: NamedQuestion, answer: Answer) -> dict[str, Json]:
    """The confidence of a choice and of a score is SGLang's and vLLM's: OpenAI has not published its own."""
    shares = answer.probabilities
    match named.question.kind:
        case "yes_no":
            return {"type": "predicate", "name": named.name, "probability": shares[0]}
        case "choice":
            return {
                "type": "choice",
                "name": named.name,
                "choice": named.values[answer.best],
                "probabilities": [
                    {"value": value, "probability": share}
                    for value, share in zip(named.values, shares, strict=True)
                ],
                "confidence": answer.choice_confidence,
            }
        case "score":
            return {
                "type": "score",
                "name": named.name,
                "score": answer.score,
                "probabilities": [
                    {"value": level, "label": label, "probability": share}
                    for level, (label, share) in enumerate(zip(named.levels, shares, strict=True))
                ],
                "confidence": answer.score_confidence,
            }


def router(decisions: Decisions) -> APIRouter:
    routes = direct_router()
    routes.add_api_route("/v1/decisions", OpenAIDecisions(decisions).create, methods=["POST"])
    return routes
