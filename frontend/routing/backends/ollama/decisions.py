"""Converts ScoreRequest and ScoreResponse to and from Ollama's `/v1/systemone`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import orjson

from drover.errors import CapabilityMissing, EngineFailed
from drover.json_value import Json
from drover.ollama_options import UINT32_MAX
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.ollama.body import Body, go_duration

# Of a probability of 0.
_LEAST_LOGPROB = -9999.0


def systemone_body(request: pb.ScoreRequest, model: str) -> Body:
    """Raises CapabilityMissing for a request that the protocol has no form for."""
    if not request.systemone_json or request.return_prompt_ids:
        raise CapabilityMissing(
            "this model is on an Ollama server, whose protocol answers decisions but scores no other labels"
        )
    body: Body = orjson.loads(request.systemone_json) | {"model": model}
    if request.HasField("keep_alive_ns"):
        body["keep_alive"] = go_duration(request.keep_alive_ns)
    return body


def scores_of(body: Body, answer: Mapping[str, Json]) -> pb.ScoreResponse:
    """The answers' probabilities as log probabilities: the server does not report their share of the whole
    vocabulary. Raises EngineFailed for answers that are none to `body`.
    """
    questions, answers = _object(body.get("questions")), _object(answer.get("answers"))
    response = pb.ScoreResponse(
        prompt_tokens=_count(_object(answer.get("usage")).get("input_tokens")),
        cached_tokens=_count(answer.get("prompt_eval_cached_count")),
    )
    for name, question in questions.items():
        shares = _shares(_object(question), _object(answers.get(name)))
        response.results.add(logprobs=map(_logprob, shares), label_ids=[0] * len(shares))
    return response


def _shares(question: Mapping[str, Json], answer: Mapping[str, Json]) -> Sequence[float]:
    criteria, probabilities = question.get("criteria"), _object(answer.get("probabilities"))
    match question.get("type"), criteria:
        case "choice", dict():
            return _numbers(probabilities.get(name) for name in criteria)
        case "score", list():
            return _numbers(probabilities.get(str(level)) for level in range(len(criteria)))
        case _:
            (share,) = _numbers([answer.get("noul")])
            return [share, 1 - share]


def _numbers(values: Iterable[Json]) -> list[float]:
    numbers = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise EngineFailed("the Ollama host answered a decision without probabilities")
        numbers.append(float(value))
    return numbers


def _logprob(share: float) -> float:
    return math.log(share) if share > 0 else _LEAST_LOGPROB


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _count(value: Json) -> int:
    return min(max(0, value), UINT32_MAX) if isinstance(value, int) else 0
