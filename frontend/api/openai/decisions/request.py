"""OpenAI's request for decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json, dump_text
from frontend.api.core.go_values import keep_alive_ns
from frontend.api.core.ignored_fields import Fields
from frontend.api.openai.decisions.state import State
from frontend.api.openai.fields import HARMLESS
from frontend.decision.question import MAX_OPTIONS, Question

MAX_QUESTIONS = 400
_MAX_LEVELS = 10
# Decisions are routed by their state, so a key changes nothing.
_FIELDS = Fields({"model", "input", "questions", "keep_alive"}, {*HARMLESS, "prompt_cache_key"})


@dataclass(frozen=True, slots=True)
class NamedQuestion:
    """`values`: of a choice's options, which may be true and false; `levels`: labels of a score's levels."""

    question: Question
    name: str | None
    values: list[str | bool] = field(default_factory=list)
    levels: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OpenAIDecisionRequest:
    model: str
    state: State
    questions: list[NamedQuestion]
    keep_alive: int | None
    # Names of fields that have no effect.
    ignored: list[str]

    @classmethod
    def read(cls, body: Mapping[str, Json]) -> OpenAIDecisionRequest:
        """Raises InvalidRequest."""
        questions = questions_of(body)
        if len(questions) > MAX_QUESTIONS:
            raise InvalidRequest(f"questions must have 1 to {MAX_QUESTIONS} entries, not {len(questions)}")
        model, state = model_of(body), State.read(body.get("input"))
        return cls(
            model,
            state,
            [_question(each, f"questions[{at}]", len(state.images)) for at, each in enumerate(questions)],
            _keep_alive(body.get("keep_alive")),
            _FIELDS.without_effect(dict(body)),
        )


def _keep_alive(value: Json) -> int | None:
    """An extension, as under all of /v1. Raises InvalidRequest."""
    return None if value is None else keep_alive_ns(value)


def model_of(body: Mapping[str, Json]) -> str:
    """Raises InvalidRequest without a model."""
    name = body.get("model")
    if not isinstance(name, str) or not name.strip():
        raise InvalidRequest("model is required")
    return name


def questions_of(body: Mapping[str, Json]) -> list[Json]:
    """Raises InvalidRequest unless there is at least one question."""
    questions = body.get("questions")
    if not isinstance(questions, list) or not questions:
        raise InvalidRequest("questions must be a list of at least one question")
    return questions


def _question(value: Json, path: str, images: int) -> NamedQuestion:
    """`images`: how many the input has."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{path} must be an object")
    kind = value.get("type")
    read = _KINDS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise InvalidRequest(f"{path}.type must be predicate, choice or score, not {dump_text(kind)}")
    name = value.get("name")
    if name is not None and not isinstance(name, str):
        raise InvalidRequest(f"{path}.name must be a text")
    asked = State(earlier=images)
    text = asked.content(value.get("instructions"), f"{path}.instructions")
    if not text.strip() and not asked.images:
        raise InvalidRequest(f"{path}.instructions must not be empty")
    named = read(value, text, path)
    return replace(named, name=name, question=replace(named.question, images=asked.images))


def _predicate(fields: Mapping[str, Json], text: str, path: str) -> NamedQuestion:
    return NamedQuestion(Question.yes_no(text), None)


def _choice(fields: Mapping[str, Json], text: str, path: str) -> NamedQuestion:
    values: list[str | bool] = []
    details = []
    for at, entry in enumerate(_entries(fields, "choices", MAX_OPTIONS, path)):
        value = entry.get("value")
        if not isinstance(value, str | bool) or value == "":
            raise InvalidRequest(f"{path}.choices[{at}].value must be a text that is not empty, or a boolean")
        values.append(value)
        details.append(_optional(entry, "description", f"{path}.choices[{at}]"))
    # A text and a boolean with the same letters are two values.
    if len({(type(value), value) for value in values}) != len(values):
        raise InvalidRequest(f"the values of {path}.choices must differ from each other")
    names = [value if isinstance(value, str) else str(value).lower() for value in values]
    return NamedQuestion(Question("choice", text, names, details), None, values=values)


def _score(fields: Mapping[str, Json], text: str, path: str) -> NamedQuestion:
    labels, shown = [], []
    for at, entry in enumerate(_entries(fields, "levels", _MAX_LEVELS, path)):
        label = entry.get("label")
        if not isinstance(label, str) or not label.strip():
            raise InvalidRequest(f"{path}.levels[{at}].label must be a text that is not empty")
        description = _optional(entry, "description", f"{path}.levels[{at}]")
        labels.append(label)
        shown.append(f"{label} - {description}" if description else label)
    return NamedQuestion(Question.score(text, shown), None, levels=labels)


def _entries(fields: Mapping[str, Json], name: str, most: int, path: str) -> list[dict[str, Json]]:
    value = fields.get(name)
    entries = [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(entries) != len(value):
        raise InvalidRequest(f"{path}.{name} must be a list of objects")
    if not 2 <= len(entries) <= most:
        raise InvalidRequest(f"{path}.{name} must have 2 to {most} entries, not {len(entries)}")
    return entries


def _optional(fields: Mapping[str, Json], name: str, path: str) -> str:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{path}.{name} must be a text")
    return value or ""


_KINDS: dict[str, Callable[[Mapping[str, Json], str, str], NamedQuestion]] = {
    "predicate": _predicate,
    "choice": _choice,
    "score": _score,
}
