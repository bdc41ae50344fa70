"""The body of POST /v1/systemone: a state, and named questions about it (ollama-contract.md, "Decisions")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drover.errors import DroverError, InvalidRequest
from frontend.api.core.go_json import Json, dump_text
from frontend.api.core.request import keep_alive, read_body
from frontend.api.core.typed_fields import Reader, anything, images, mapping, text
from frontend.decision.question import Question

_MAX_QUESTIONS = 64
_MIN_CANDIDATES, _MAX_CANDIDATES = 2, 26
_TRUE, _FALSE = "true", "false"


@dataclass(slots=True)
class SystemOneRequest:
    """Fields that are not named here have no effect, as in Ollama."""

    model: str = ""
    state: Json = None
    questions: dict[str, Json] = field(default_factory=dict)
    images: list[bytes] = field(default_factory=list)
    videos: Json = None
    keep_alive: int | None = None

    @classmethod
    def read(cls, body: Json) -> SystemOneRequest:
        """Raises InvalidRequest for a value of the wrong type."""
        return read_body(cls, body, "SystemOneRequest", _FIELDS)

    @property
    def state_text(self) -> str:
        """Raises InvalidRequest for a state that is empty or no text, object or array."""
        if not isinstance(self.state, str | dict | list):
            raise InvalidRequest("state: must be a string, object, or array")
        if not self.state:
            raise InvalidRequest("state must not be empty")
        return content_text(self.state)

    def check(self) -> None:
        """Raises InvalidRequest for fields that no model takes."""
        if not self.model.strip():
            raise InvalidRequest("model is required")
        if self.videos not in (None, []):
            raise InvalidRequest("video inputs are not supported")
        for number, image in enumerate(self.images):
            if not image:
                raise InvalidRequest(f"image {number} must not be empty")

    def read_questions(self) -> dict[str, Question]:
        """The questions by name, in the order of the body. Raises InvalidRequest."""
        if not 1 <= len(self.questions) <= _MAX_QUESTIONS:
            raise InvalidRequest(f"questions must contain 1\N{EN DASH}{_MAX_QUESTIONS} fields")
        return {name: _named(name, question) for name, question in self.questions.items()}


def content_text(value: Json) -> str:
    """A text as it is; objects and arrays as compact JSON."""
    return value if isinstance(value, str) else dump_text(value)


def _named(name: str, question: Json) -> Question:
    try:
        if not name.strip():
            raise InvalidRequest("field name must not be empty")
        if not isinstance(question, dict):
            raise InvalidRequest("type must be choice, noul, or score")
        return _question(question)
    except DroverError as error:
        raise InvalidRequest(f'question "{name}": {error.message}') from None


def _question(fields: Mapping[str, Json]) -> Question:
    """Criteria are checked after the type, which says what they have to be."""
    kind, criteria = fields.get("type"), fields.get("criteria")
    if kind not in ("choice", "noul", "score"):
        raise InvalidRequest("type must be choice, noul, or score")
    instructions = _instructions(fields.get("instructions"))
    match kind:
        case "choice":
            options = _options(criteria)
            return Question("choice", instructions, list(options), list(options.values()))
        case "score":
            return Question.score(instructions, _levels(criteria))
        case _:
            sides = _sides(criteria)
            return Question.yes_no(instructions, sides.get(_TRUE, ""), sides.get(_FALSE, ""))


def _instructions(value: Json) -> str:
    is_blank = not value.strip() if isinstance(value, str) else not value
    if is_blank or not isinstance(value, str | dict | list):
        raise InvalidRequest("instructions must be a nonempty string, object, or array")
    return content_text(value)


def _options(criteria: Json) -> dict[str, str]:
    if not isinstance(criteria, dict):
        raise InvalidRequest("choice criteria must map option keys to descriptions or null")
    options: dict[str, str] = {}
    for key, description in criteria.items():
        if not key.strip():
            raise InvalidRequest("choice keys must not be empty")
        if description is not None and not isinstance(description, str):
            raise InvalidRequest("choice criteria must map option keys to descriptions or null")
        options[key] = description or ""
    _check_count(len(options))
    return options


def _levels(criteria: Json) -> list[str]:
    if not isinstance(criteria, list):
        raise InvalidRequest("score criteria must be an array of descriptions")
    levels = [level for level in criteria if isinstance(level, str)]
    if len(levels) != len(criteria):
        raise InvalidRequest("score descriptions must be strings")
    _check_count(len(levels))
    return levels


def _sides(criteria: Json) -> dict[str, str]:
    if criteria is None:
        return {}
    if not isinstance(criteria, dict):
        raise InvalidRequest("noul criteria must be an object of true/false descriptions")
    sides: dict[str, str] = {}
    for key, description in criteria.items():
        if key not in (_TRUE, _FALSE):
            raise InvalidRequest(f'unknown noul criterion "{key}"')
        if description is not None and not isinstance(description, str):
            raise InvalidRequest("noul descriptions must be strings")
        sides[key] = description or ""
    return sides


def _check_count(candidates: int) -> None:
    if not _MIN_CANDIDATES <= candidates <= _MAX_CANDIDATES:
        raise InvalidRequest(
            f"criteria must contain {_MIN_CANDIDATES}\N{EN DASH}{_MAX_CANDIDATES} candidates"
        )


_FIELDS: dict[str, Reader] = {
    "model": text,
    "state": anything,
    "questions": mapping,
    "images": images,
    "videos": anything,
    "keep_alive": keep_alive,
}
