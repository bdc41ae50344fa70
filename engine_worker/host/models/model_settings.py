"""The operator's settings of single models: engine, context, slots, adapters, further flags, whether it is
pinned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, TypeVar, get_args

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from drover.names import ModelName
from engine_worker.settings import EngineKind

Value = TypeVar("Value")


class ModelSettings(BaseModel):
    """Of the models whose name matches a pattern. `flags`: of their workers, such as --sglang-args.
    `adapters`: whether their workers take some. By default those do that keep no memory for them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: EngineKind | None = None
    context_length: Annotated[int, Ge(0)] | None = None
    slots: Annotated[int, Ge(1)] | None = None
    flags: list[str] = []
    pinned: bool = False
    max_replicas: Annotated[int, Ge(1)] | None = None
    adapters: bool | None = None

    @property
    def worker_flags(self) -> list[str]:
        """Later flags of a command win over earlier ones."""
        flags = list(self.flags)
        if self.context_length is not None:
            flags += ["--context-length", str(self.context_length)]
        if self.slots is not None:
            flags += ["--slots", str(self.slots)]
        return flags

    def refusal(self, engine: EngineKind) -> str:
        """Why it cannot be served as the operator wants; empty if it can. `engine`: the one for its files."""
        if self.engine in (None, engine, "simulator"):
            return ""
        return (
            f"--engine-for or --model-settings asks for the engine {self.engine}, which cannot read the "
            f"model's files: they are for {engine} (llamacpp serves GGUF, sglang safetensors)"
        )


_ALL = TypeAdapter(dict[str, ModelSettings])
SettingsOf = Mapping[str, ModelSettings]


def read_model_settings(text: str) -> SettingsOf:
    """By pattern, from JSON or the path of a JSON file. Raises ValueError with what is wrong."""
    if not text:
        return {}
    try:
        source = text if text.lstrip().startswith("{") else Path(text).read_text()
    except OSError as error:
        raise ValueError(f"{text}: {error.strerror}") from error
    try:
        return _ALL.validate_json(source)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise ValueError(f"{where}: {problem['msg']}" if where else problem["msg"]) from error


def read_engines(texts: Iterable[str]) -> Mapping[str, EngineKind]:
    """By pattern, from PATTERN=ENGINE. Raises ValueError for one that is none."""
    kinds: Mapping[str, EngineKind] = {kind: kind for kind in get_args(EngineKind)}
    engines: dict[str, EngineKind] = {}
    for text in texts:
        pattern, _, engine = text.rpartition("=")
        if not pattern or engine not in kinds:
            raise ValueError(
                f"{text!r}: write PATTERN=ENGINE, like 'qwen3*=sglang'; the engines are {', '.join(kinds)}"
            )
        engines.setdefault(pattern, kinds[engine])
    return engines


@dataclass(frozen=True, slots=True)
class ModelRules:
    """The settings of each model; `engines`, of --engine-for, count before those of `settings`."""

    settings: SettingsOf = field(default_factory=dict)
    engines: Mapping[str, EngineKind] = field(default_factory=dict)

    def of(self, name: ModelName) -> ModelSettings:
        settings = _first(name, self.settings) or ModelSettings()
        engine = _first(name, self.engines)
        return settings.model_copy(update={"engine": engine}) if engine else settings


def _first(name: ModelName, by_pattern: Mapping[str, Value]) -> Value | None:
    """Of the first pattern that matches, such as `qwen3*`, in any letter case, with or without the tag."""
    shown = name.short.casefold()
    names = (shown, shown.rpartition(":")[0])
    for pattern, value in by_pattern.items():
        if any(fnmatchcase(each, pattern.casefold()) for each in names):
            return value
    return None
