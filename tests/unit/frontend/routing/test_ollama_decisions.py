"""Decisions of a model on an Ollama server: the request in its form, its answers as scores."""

from __future__ import annotations

import math

import pytest

from drover.errors import CapabilityMissing, EngineFailed
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.decision.question import Question
from frontend.decision.systemone import systemone_json
from frontend.routing.backends.ollama.decisions import scores_of, systemone_body

_QUESTIONS = [
    Question.yes_no("A refund?", yes="due"),
    Question("choice", "Which?", ["a", "b"], ["d", ""]),
    Question.score("How?", ["low", "mid", "high"]),
]
_ANSWERS: dict[str, Json] = {
    "0": {"type": "noul", "noul": 0.25},
    "1": {"type": "choice", "choice": "b", "probabilities": {"b": 1, "a": 0}, "confidence": 1},
    "2": {"type": "score", "score": 1, "legend": {}, "probabilities": {"0": 0.25, "1": 0.5, "2": 0.25}},
}


def _request(**more: object) -> pb.ScoreRequest:
    return pb.ScoreRequest(systemone_json=systemone_json("hello", _QUESTIONS, [b"png"]), **more)  # type: ignore[arg-type]  # mypy cannot type fields in **


def test_questions_in_ollamas_form() -> None:
    assert systemone_body(_request(keep_alive_ns=5), "m:7b") == {
        "model": "m:7b",
        "state": "hello",
        "images": ["cG5n"],
        "keep_alive": "5ns",
        "questions": {
            "0": {"type": "noul", "instructions": "A refund?", "criteria": {"true": "due"}},
            "1": {"type": "choice", "instructions": "Which?", "criteria": {"a": "d", "b": None}},
            "2": {"type": "score", "instructions": "How?", "criteria": ["low", "mid", "high"]},
        },
    }


def test_answers_become_scores() -> None:
    body = systemone_body(_request(), "m")
    response = scores_of(
        body, {"answers": _ANSWERS, "usage": {"input_tokens": 9}, "prompt_eval_cached_count": 4}
    )
    assert [[round(math.exp(each), 6) for each in result.logprobs] for result in response.results] == [
        [0.25, 0.75],
        [0, 1],
        [0.25, 0.5, 0.25],
    ]
    assert (response.prompt_tokens, response.cached_tokens) == (9, 4)
    assert [len(result.label_ids) for result in response.results] == [2, 2, 3]


@pytest.mark.parametrize(
    "broken",
    [
        {"0": {"type": "noul", "noul": "yes"}},
        {"0": {"type": "noul", "noul": 1.5}},
        {"1": {"type": "choice", "probabilities": {"a": 0.5}}},
        {"2": {"type": "score", "probabilities": [0.5, 0.25, 0.25]}},
        {"2": None},
    ],
    ids=str,
)
def test_answers_without_probabilities_are_the_servers_fault(broken: dict[str, Json]) -> None:
    with pytest.raises(EngineFailed, match="without probabilities"):
        scores_of(systemone_body(_request(), "m"), {"answers": {**_ANSWERS, **broken}})


@pytest.mark.parametrize(
    "request_",
    [pb.ScoreRequest(items=[pb.ScoreItem(raw="x", labels=["yes"])]), _request(return_prompt_ids=True)],
    ids=["other labels", "token ids"],
)
def test_what_the_protocol_cannot_say_is_refused(request_: pb.ScoreRequest) -> None:
    with pytest.raises(CapabilityMissing, match="on an Ollama server"):
        systemone_body(request_, "m")


@pytest.mark.parametrize(
    "question",
    [
        Question("choice", "Which?", ["true", "true"], ["", ""]),
        Question("yes_no", "This?", ("yes", "no"), ("", ""), images=[b"png"]),
    ],
    ids=["options with one name", "images of a question"],
)
def test_questions_without_a_form_there_are_not_sent(question: Question) -> None:
    assert systemone_json("hello", [question]) == ""
