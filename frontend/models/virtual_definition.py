"""Definition of a virtual model: from the operator's configuration, or from a preset's parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.names import DEFAULT_TAG, ModelName

SIMPLE, COMPLEX = "simple", "complex"
# SGLang's names: its router sends simple requests to the local model.
_ALIASES = {"local": SIMPLE, "remote": COMPLEX}
_AUTO = "auto"
_JUDGE = "judge"
_PARAMETER = "route_"
_MARK = f"{_PARAMETER}{COMPLEX}"
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
SIMPLE_OR_COMPLEX = {
    SIMPLE: "a greeting, a fact, a definition, a translation or anything else with a short answer",
    COMPLEX: "several steps of reasoning, program code, a long or creative text, or research",
}
MAX_SIDES = 26


@dataclass(frozen=True, slots=True)
class Side:
    """One of the models that a virtual model chooses between. `description`: the requests that it is for, as
    the judge reads it.
    """

    label: str
    model: ModelName
    description: str


@dataclass(frozen=True, slots=True)
class VirtualModel:
    """`default`: the label of the side for a request that the judge does not decide. `images`, `tools`,
    `long`: the label for such requests without a judge, None to judge them too. `long_characters`: the
    length from which a request is long, 0 for never. `threshold`: the probability that the likeliest side
    must have; `min_label_mass`: the probability that the judge must give to all labels together.
    """

    name: ModelName
    sides: tuple[Side, ...]
    judge: ModelName
    default: str = SIMPLE
    judge_timeout_seconds: float = 1.0
    images: str | None = COMPLEX
    tools: str | None = COMPLEX
    long: str | None = COMPLEX
    long_characters: int = 8_000
    threshold: float = 0.0
    min_label_mass: float = 0.01

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(side.label for side in self.sides)

    @property
    def is_simple_or_complex(self) -> bool:
        return self.labels == (SIMPLE, COMPLEX)

    def descriptions(self, labels: Sequence[str]) -> Mapping[str, str]:
        """What requests each of the sides is for, in the definition's order."""
        return {side.label: side.description for side in self.sides if side.label in labels}

    def label_of(self, word: str) -> str | None:
        """The label that a word means; None if it means none."""
        word = word.lower()
        if self.is_simple_or_complex:
            word = _ALIASES.get(word, word)
        return word if word in self.labels else None

    def requested(self, text: str) -> str | None:
        """The label that a request asks for, None for `auto` or no text. Raises InvalidRequest."""
        word = text.strip()
        if word.lower() in ("", _AUTO):
            return None
        label = self.label_of(word)
        if label is None:
            known = [*self.labels, *(_ALIASES if self.is_simple_or_complex else ()), _AUTO]
            raise InvalidRequest(f"route '{text}' is none of {', '.join(known)}")
        return label


class _WrittenSide(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str
    description: Annotated[str, Len(1, 2_000)]


class _Written(BaseModel):
    """A virtual model as it is configured: `simple` and `complex`, or `models` by their labels."""

    model_config = ConfigDict(extra="forbid")

    simple: str = ""
    complex: str = ""
    models: dict[str, _WrittenSide] = {}
    judge: str = ""
    default: str = ""
    judge_timeout_seconds: Annotated[float, Gt(0), Le(600)] = 1.0
    images: str = ""
    tools: str = ""
    long: str = ""
    long_characters: Annotated[int, Ge(0), Le(100_000_000)] = 8_000
    threshold: Annotated[float, Ge(0), Lt(1)] = 0.0
    min_label_mass: Annotated[float, Ge(0), Lt(1)] = 0.01

    def as_model(self, name: str) -> VirtualModel:
        """The definition. Without `judge` the first side's model judges, as in SGLang's router. Raises
        ValueError.
        """
        sides = self._sides()
        labels = [side.label for side in sides]
        return VirtualModel(
            name=_name(name),
            sides=sides,
            judge=_name(self.judge) if self.judge else sides[0].model,
            default=_one_of(labels, "default", self.default or labels[0]),
            judge_timeout_seconds=self.judge_timeout_seconds,
            images=self._rule(labels, "images", self.images),
            tools=self._rule(labels, "tools", self.tools),
            long=self._rule(labels, "long", self.long),
            long_characters=self.long_characters,
            threshold=self.threshold,
            min_label_mass=self.min_label_mass,
        )

    def _sides(self) -> tuple[Side, ...]:
        if not self.models:
            return tuple(self._two_sides())
        if self.simple or self.complex:
            raise ValueError("models: cannot be combined with simple and complex")
        if not 2 <= len(self.models) <= MAX_SIDES:
            raise ValueError(f"models: 2 to {MAX_SIDES} are allowed, not {len(self.models)}")
        for label in self.models:
            if not _LABEL.fullmatch(label) or label in (_AUTO, _JUDGE, DEFAULT_TAG):
                raise ValueError(f"models: {label!r} is no label (small letters, digits, _ and -)")
        return tuple(Side(label, _name(each.model), each.description) for label, each in self.models.items())

    def _two_sides(self) -> Iterator[Side]:
        for label, model in ((SIMPLE, self.simple), (COMPLEX, self.complex)):
            if not model:
                raise ValueError(f"{label}: a model is required (or name several in `models`)")
            yield Side(label, _name(model), SIMPLE_OR_COMPLEX[label])

    def _rule(self, labels: Sequence[str], field: str, word: str) -> str | None:
        """Without a word such requests are complex, or are judged where there is no complex side."""
        word = word or (_JUDGE if self.models else COMPLEX)
        return None if word == _JUDGE else _one_of([*labels, _JUDGE], field, word)


def virtual_models(setting: str) -> Mapping[str, VirtualModel]:
    """Parse the setting `smart_routers`: definitions by the keys of their names. Raises ValueError."""
    if not setting:
        return {}
    text = setting.strip()
    if not text.startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"{setting!r} cannot be read: {error.strerror}") from error
    try:
        written = TypeAdapter(dict[str, _Written]).validate_json(text)
    except ValidationError as error:
        raise ValueError(_first_of(error)) from error
    models = [_configured(name, each) for name, each in written.items()]
    return {model.name.key: model for model in models}


def _configured(name: str, written: _Written) -> VirtualModel:
    """Raises ValueError with the virtual model's name."""
    try:
        return written.as_model(name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def of_parameters(name: ModelName, base: ModelName, parameters: Mapping[str, Json]) -> VirtualModel | None:
    """A preset's definition, None without the parameter `route_complex`. Its base is the simple side unless
    `route_simple` is set. Raises InvalidRequest.
    """
    if _MARK not in parameters:
        return None
    written = {
        key.removeprefix(_PARAMETER): value for key, value in parameters.items() if key.startswith(_PARAMETER)
    }
    try:
        definition = _Written.model_validate_json(orjson.dumps({"simple": base.full, **written}))
        return definition.as_model(name.full)
    except ValidationError as error:
        raise InvalidRequest(f"route parameters: {_first_of(error)}") from error
    except ValueError as error:
        raise InvalidRequest(f"route parameters: {error}") from error


def _one_of(words: Sequence[str], field: str, word: str) -> str:
    """Raises ValueError for a word that is none of them."""
    if word not in words:
        raise ValueError(f"{field}: {word!r} is none of {', '.join(words)}")
    return word


def _name(text: str) -> ModelName:
    name = ModelName.parse(text)
    if name is None or "://" in text:
        raise ValueError(
            f"{text!r} is not a model name; a model on another Ollama server is added to the workers as "
            "ollama:http://host:11434/model#name and named here by its name"
        )
    return name


def _first_of(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg']}"
