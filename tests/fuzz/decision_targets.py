"""Fuzz targets for decisions; see targets.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import loads
from frontend.api.decisions import DecisionRequest, check_model, score_request
from frontend.api.ollama.systemone import systemone_body
from frontend.api.ollama.systemone_request import SystemOneRequest
from frontend.api.openai.decisions.decisions import openai_body, read_decisions
from frontend.api.openai.decisions.sglang import SglangDecisionRequest, sglang_body
from frontend.decision.question import Question
from frontend.models.model import CatalogModel

ForEveryModel = Callable[[Callable[[CatalogModel], object]], None]


def targets(for_every_model: ForEveryModel) -> Mapping[str, Callable[[bytes], None]]:
    def score(request: DecisionRequest) -> None:
        def work(model: CatalogModel) -> None:
            check_model(model, request)
            score_request(request, model).SerializeToString()

        for_every_model(work)

    def systemone(body: bytes) -> None:
        parsed = SystemOneRequest.read(loads(body))
        parsed.check()
        state, questions = parsed.state_text, parsed.read_questions()
        asked = list(questions.values())
        score(DecisionRequest(parsed.model, state, asked, parsed.images, parsed.keep_alive))
        systemone_body(parsed.model, questions, _scores(asked))

    def decisions(body: bytes) -> None:
        parsed = read_decisions(loads(body))
        if isinstance(parsed, SglangDecisionRequest):
            asked = list(parsed.questions.values())
            score(DecisionRequest(parsed.model, parsed.state, asked, parsed.images))
            sglang_body(parsed, _scores(asked))
        else:
            asked = [each.question for each in parsed.questions]
            score(DecisionRequest(parsed.model, parsed.state.text, asked, parsed.state.images))
            openai_body(parsed, _scores(asked))

    return {"/v1/systemone": systemone, "/v1/decisions": decisions}


def _scores(questions: list[Question]) -> pb.ScoreResponse:
    """An even distribution."""
    return pb.ScoreResponse(
        results=[pb.ScoreResult(logprobs=[-9.0] * len(question.labels)) for question in questions]
    )
