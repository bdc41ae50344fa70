"""Definition of a virtual model: from the operator's configuration, or from a preset's parameters."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import orjson
from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.names import ModelName


class Side(enum.Enum):
    SIMPLE = "simple"
    COMPLEX = "complex"

    @property
    def other(self) -> Side:
        return Side.COMPLEX if self is Side.SIMPLE else Side.SIMPLE


# `local` and `remote` are SGLang's names: its router sends simple requests to the local model.
SIDES = {"simple": Side.SIMPLE, "local": Side.SIMPLE, "complex": Side.COMPLEX, "remote": Side.COMPLEX}
_PARAMETER = "route_"
_MARK = f"{_PARAMETER}complex"
_SideWord = Literal["simple", "complex"]
_RuleWord = Literal["simple", "complex", "judge"]


@dataclass(frozen=True, slots=True)
class VirtualModel:
    """`default`: the side for a request that the judge does not decide. `images`, `tools`, `long`: the side
    of such requests without a judge, None to judge them too. `long_characters`: the length from which a
    request is long, 0 for never.
    """

    name: ModelName
    simple: ModelName
    complex: ModelName
    judge: ModelName
    default: Side = Side.SIMPLE
    judge_timeout_seconds: float = 1.0
    images: Side | None = Side.COMPLEX
    tools: Side | None = Side.COMPLEX
    long: Side | None = Side.COMPLEX
    long_characters: int = 8_000

    def model_of(self, side: Side) -> ModelName:
        return self.simple if side is Side.SIMPLE else self.complex


class _Written(BaseModel):
    """A virtual model as it is configured."""

    model_config = ConfigDict(extra="forbid")

    simple: str
    complex: str
    judge: str = ""
    default: _SideWord = "simple"
    judge_timeout_seconds: Annotated[float, Gt(0), Le(600)] = 1.0
    images: _RuleWord = "complex"
    tools: _RuleWord = "complex"
    long: _RuleWord = "complex"
    long_characters: Annotated[int, Ge(0), Le(100_000_000)] = 8_000

    def as_model(self, name: str) -> VirtualModel:
        """The definition. Without `judge` the simple side's model judges, as in SGLang's router. Raises
        ValueError.
        """
        return VirtualModel(
            name=_name(name),
            simple=_name(self.simple),
            complex=_name(self.complex),
            judge=_name(self.judge or self.simple),
            default=Side(self.default),
            judge_timeout_seconds=self.judge_timeout_seconds,
            images=SIDES.get(self.images),
            tools=SIDES.get(self.tools),
            long=SIDES.get(self.long),
            long_characters=self.long_characters,
        )


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
    models = [each.as_model(name) for name, each in written.items()]
    return {model.name.key: model for model in models}


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


def requested_side(text: str) -> Side | None:
    """The side that a request asks for, None for `auto` or no text. Raises InvalidRequest."""
    word = text.strip().lower()
    if word in ("", "auto"):
        return None
    if word not in SIDES:
        raise InvalidRequest(f"route '{text}' is none of {', '.join([*SIDES, 'auto'])}")
    return SIDES[word]


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
