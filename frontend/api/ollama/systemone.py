"""POST /v1/systemone: decisions in Ollama's form (ollama-contract.md, "Decisions")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.concurrency import run_in_thread_if_large
from drover.errors import BodyTooLarge
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import INLINE_BYTES, read_body, unpacked
from frontend.api.core.go_json import Json, dumps, loads
from frontend.api.decisions import DecisionRequest, Decisions, decided
from frontend.api.ollama.systemone_request import SystemOneRequest
from frontend.decision.answer import Answer
from frontend.decision.question import Question
from frontend.http.routes import direct_router

_KIB, _MIB = 1024, 1024 * 1024
# Of the body's bytes; of one in zstd, which TypeSafe's client sends, those after unpacking count too.
MAX_BYTES, MAX_BYTES_WITH_IMAGES = 64 * _KIB, 32 * _MIB


@dataclass(frozen=True, slots=True)
class SystemOne:
    decisions: Decisions

    async def decide(self, http: Request) -> Response:
        request = await self._read(http)
        request.check()
        state, questions = request.state_text, request.read_questions()
        wanted = DecisionRequest(
            request.model, state, list(questions.values()), request.images, request.keep_alive
        )
        response = await self.decisions.decide(http, wanted)
        return decided(http, systemone_body(request.model, questions, response), ())

    async def _read(self, http: Request) -> SystemOneRequest:
        """Raises BodyTooLarge, InvalidRequest and as `read_body`."""
        settings = self.decisions.generation.settings
        limit = min(MAX_BYTES_WITH_IMAGES, settings.max_body_bytes)
        try:
            body = await unpacked(http, await read_body(http, limit, settings.body_timeout_seconds))
        except BodyTooLarge:
            if limit < MAX_BYTES_WITH_IMAGES:
                raise
            raise BodyTooLarge(f"request body must not exceed {MAX_BYTES_WITH_IMAGES // _MIB} MiB") from None
        request = await run_in_thread_if_large(
            lambda: SystemOneRequest.read(loads(body)), len(body), INLINE_BYTES
        )
        if len(body) > MAX_BYTES and not request.images:
            raise BodyTooLarge(f"request body must not exceed {MAX_BYTES // _KIB} KiB without images")
        return request


def systemone_body(model: str, questions: Mapping[str, Question], response: pb.ScoreResponse) -> bytes:
    """The answers in the order of the questions; their keys in Ollama's order."""
    answers = {
        name: _answer(question, Answer.of(result.logprobs))
        for (name, question), result in zip(questions.items(), response.results, strict=True)
    }
    return dumps(
        {
            "model": model,
            "answers": answers,
            # No token is generated: the labels are read from the prompts' last scores.
            "usage": {"input_tokens": response.prompt_tokens, "output_tokens": 0},
            "prompt_eval_cached_count": response.cached_tokens,
        }
    )


def _answer(question: Question, answer: Answer) -> dict[str, Json]:
    probabilities: dict[str, Json] = {
        name: _number(share) for name, share in zip(question.names, answer.probabilities, strict=True)
    }
    confidence = _number(answer.entropy_confidence)
    match question.kind:
        case "yes_no":
            return {"type": "noul", "noul": _number(answer.probabilities[0])}
        case "choice":
            return {
                "type": "choice",
                "choice": question.names[answer.best],
                "probabilities": probabilities,
                "confidence": confidence,
            }
        case "score":
            return {
                "type": "score",
                "score": _number(answer.score),
                "legend": dict(zip(question.names, question.details, strict=True)),
                "probabilities": probabilities,
                "confidence": confidence,
            }


def _number(value: float) -> float:
    """Go writes whole numbers without a fraction."""
    return int(value) if value.is_integer() else value


def router(decisions: Decisions) -> APIRouter:
    routes = direct_router()
    routes.add_api_route("/v1/systemone", SystemOne(decisions).decide, methods=["POST"])
    return routes
