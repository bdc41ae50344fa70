"""The operator's settings of single models: engine, context, slots, further flags, whether it is pinned."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from drover.names import ModelName
from engine_worker.settings import EngineKind


class ModelSettings(BaseModel):
    """Of the models whose name matches a pattern. `flags`: of their workers, such as --sglang-args."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: EngineKind | None = None
    context_length: Annotated[int, Ge(0)] | None = None
    slots: Annotated[int, Ge(1)] | None = None
    flags: list[str] = []
    pinned: bool = False
    max_replicas: Annotated[int, Ge(1)] | None = None

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
        """Why it cannot be served by the engine that its files are for; empty if it can."""
        if self.engine in (None, engine):
            return ""
        return f"its settings ask for the engine {self.engine}, and its files are for {engine}"


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


def settings_for(name: ModelName, settings: SettingsOf) -> ModelSettings:
    """Of the first pattern that matches, such as `qwen3*`, in any letter case."""
    shown = name.short.casefold()
    found = (each for pattern, each in settings.items() if fnmatchcase(shown, pattern.casefold()))
    return next(found, ModelSettings())
