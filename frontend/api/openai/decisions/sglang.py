"""SGLang's own shape of decisions, which its server has at OpenAI's path."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import Json, dump_text, dumps
from frontend.api.core.images import decoded_image
from frontend.api.core.request import check_count
from frontend.api.openai.decisions.request import model_of, questions_of
from frontend.decision.answer import Answer
from frontend.decision.question import PROMPT_FORMAT_VERSION, Question

# SGLang has no limit. A worker scores about as many in one request.
_MAX_QUESTIONS = 2_000
_MAX_OPTIONS, _MAX_LEVELS = 26, 10
_OWN_FIELDS = frozenset(
    {"images", "temperature", "chat_template_kwargs", "prompt_format_version", "return_prompt_token_ids"}
)
FIELDS = _OWN_FIELDS | {"model", "input", "questions"}
_OWN_KEYS = ("id", "question")
_OF_CHOICE = frozenset({"id", "type", "question", "options"})
_OF_SCORE = frozenset({"id", "type", "question", "levels"})
_OF_YES_NO = frozenset({"id", "type", "question", "yes", "no"})


def is_sglang(body: Mapping[str, Json]) -> bool:
    """True for a request that has what only SGLang's shape has."""
    questions = body.get("questions")
    asked = [each for each in questions if isinstance(each, dict)] if isinstance(questions, list) else []
    if any("instructions" in each or each.get("type") == "predicate" for each in asked):
        return False
    return not _OWN_FIELDS.isdisjoint(body) or any(
        each.get("type") == "yes_no" or any(key in each for key in _OWN_KEYS) for each in asked
    )


@dataclass(frozen=True, slots=True)
class SglangDecisionRequest:
    """`questions` by id, in the order of the body."""

    model: str
    state: str
    questions: dict[str, Question]
    images: list[bytes]
    temperature: float
    return_prompt_ids: bool

    @classmethod
    def read(cls, body: Mapping[str, Json]) -> SglangDecisionRequest:
        """Raises InvalidRequest, also for unknown fields, as SGLang."""
        _check_keys(body, FIELDS, "")
        version = body.get("prompt_format_version")
        if version is not None and version != PROMPT_FORMAT_VERSION:
            raise InvalidRequest(
                f"prompt_format_version {dump_text(version)} is not served, this server uses version "
                f"{PROMPT_FORMAT_VERSION}"
            )
        _check_template_kwargs(body.get("chat_template_kwargs"))
        questions: dict[str, Question] = {}
        asked = questions_of(body)
        check_count("questions", len(asked), _MAX_QUESTIONS)
        for at, value in enumerate(asked):
            name, question = _question(value, f"questions[{at}]")
            if name in questions:
                raise InvalidRequest(f"question id {name!r} repeats another question")
            questions[name] = question
        return cls(
            model_of(body),
            _required(body, "input", ""),
            questions,
            _images(body.get("images")),
            _temperature(body.get("temperature")),
            body.get("return_prompt_token_ids") is True,
        )


def sglang_body(request: SglangDecisionRequest, response: pb.ScoreResponse) -> bytes:
    answers = {
        name: _answer(question, Answer.of(result.logprobs, request.temperature))
        | (_ids(result) if request.return_prompt_ids else {})
        for (name, question), result in zip(request.questions.items(), response.results, strict=True)
    }
    tokens = response.prompt_tokens
    return dumps(
        {
            "object": "decisions",
            "model": request.model,
            "prompt_format_version": PROMPT_FORMAT_VERSION,
            "answers": answers,
            "usage": {
                "prompt_tokens": tokens,
                "total_tokens": tokens,
                "completion_tokens": 0,
                "prompt_tokens_details": {"cached_tokens": response.cached_tokens},
            },
        }
    )


def _answer(question: Question, answer: Answer) -> dict[str, Json]:
    fields: dict[str, Json] = {
        "type": question.kind,
        "probabilities": dict(zip(question.names, answer.probabilities, strict=True)),
        "label_mass": answer.label_mass,
    }
    if question.kind == "choice":
        fields["choice"] = question.names[answer.best]
    elif question.kind == "score":
        fields["score"] = answer.score
    return fields


def _ids(result: pb.ScoreResult) -> dict[str, Json]:
    return {"prompt_token_ids": list(result.prompt_ids), "label_token_ids": list(result.label_ids)}


def _question(value: Json, path: str) -> tuple[str, Question]:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{path} must be an object")
    name = value.get("id")
    if not isinstance(name, str) or not name.strip():
        raise InvalidRequest(f"{path}.id must be a text that is not blank")
    path = f"question {name!r}: "
    match value.get("type"):
        case "choice":
            _check_keys(value, _OF_CHOICE, path)
            names, details = _options(value.get("options"), path)
            return name, Question("choice", _required(value, "question", path), names, details)
        case "score":
            _check_keys(value, _OF_SCORE, path)
            return name, Question.score(_required(value, "question", path), _levels(value, path))
        case "yes_no":
            _check_keys(value, _OF_YES_NO, path)
            sides = [_text_of(value.get(side), f"{path}{side}") for side in ("yes", "no")]
            return name, Question.yes_no(_required(value, "question", path), *sides)
        case _:
            raise InvalidRequest(f"{path}type must be choice, score or yes_no")


def _options(value: Json, path: str) -> tuple[list[str], list[str]]:
    if not isinstance(value, list) or not 2 <= len(value) <= _MAX_OPTIONS:
        raise InvalidRequest(f"{path}options must be a list of 2 to {_MAX_OPTIONS} options")
    names, details = [], []
    for option in value:
        if not isinstance(option, dict):
            raise InvalidRequest(f"{path}an option must be an object")
        _check_keys(option, {"name", "description"}, path)
        name = option.get("name")
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InvalidRequest(f"{path}an option's name must be a text in one line that is not blank")
        names.append(name)
        details.append(_text_of(option.get("description"), f"{path}description"))
    if len({name.strip().casefold() for name in names}) != len(names):
        raise InvalidRequest(f"{path}the options' names must differ from each other, whatever their case")
    return names, details


def _levels(fields: Mapping[str, Json], path: str) -> list[str]:
    value = fields.get("levels")
    if not isinstance(value, list) or not 2 <= len(value) <= _MAX_LEVELS:
        raise InvalidRequest(f"{path}levels must be a list of 2 to {_MAX_LEVELS} levels")
    levels = [_text_of(level, f"{path}levels") for level in value]
    if not all(level.strip() for level in levels):
        raise InvalidRequest(f"{path}levels must not be blank")
    return levels


def _required(fields: Mapping[str, Json], name: str, path: str) -> str:
    text = _text_of(fields.get(name), f"{path}{name}")
    if not text.strip():
        raise InvalidRequest(f"{path}{name} must not be blank")
    return text


def _text_of(value: Json, path: str) -> str:
    """A text as it is, an object or array as compact JSON; empty where there is none."""
    match value:
        case None:
            return ""
        case str():
            return value
        case dict() | list():
            return dump_text(value) if value else ""
        case _:
            raise InvalidRequest(f"{path} must be a text, an object or an array")


def _images(value: Json) -> list[bytes]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest("images must be a list")
    urls = [image.get("url") if isinstance(image, dict) else image for image in value]
    if not all(isinstance(url, str) for url in urls):
        raise InvalidRequest("an image must be a URL, or an object with a url")
    return [decoded_image(str(url)) for url in urls]


def _temperature(value: Json) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidRequest("temperature must be a number above 0")
    return float(value)


def _check_template_kwargs(value: Json) -> None:
    """Thinking is off in any case, which is all that these may ask for."""
    if not value:
        return
    if not isinstance(value, dict) or any(setting is not False for setting in value.values()):
        raise InvalidRequest(
            "chat_template_kwargs can only switch thinking off, which is the default; leave them out"
        )


def _check_keys(fields: Mapping[str, Json], known: Collection[str], path: str) -> None:
    for key in fields:
        if key not in known:
            raise InvalidRequest(f"{path}{key} is not a field of this API")
