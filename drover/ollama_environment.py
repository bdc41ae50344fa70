"""Ollama's environment variables as a source of settings: below flags and DROVER_*, above defaults.

They are parsed as Ollama parses them (docs/reference/ollama-contract.md, "Environment variables"): spaces and
quotes around a value do not count. A value that cannot be parsed is logged and ignored; a wrong DROVER_*
setting stops the start.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from drover.ollama_values import Ignored

_log = logging.getLogger("drover.settings")
_QUOTES = "\"'"

SettingValue = str | int | float


@dataclass(frozen=True)
class OllamaVariable:
    """`read` is given the cleaned text. It returns None where the variable leaves the setting as it is, and
    raises Ignored.
    """

    name: str
    field: str
    read: Callable[[str], SettingValue | None]


class OllamaEnvironment(PydanticBaseSettingsSource):
    def __init__(self, settings: type[BaseSettings], variables: Sequence[OllamaVariable]) -> None:
        super().__init__(settings)
        self._variables = variables

    def __call__(self) -> dict[str, SettingValue]:
        values: dict[str, SettingValue] = {}
        for variable in self._variables:
            text = cleaned(os.environ.get(variable.name, ""))
            if not text or variable.field in self.current_state:
                continue
            try:
                value = variable.read(text)
            except Ignored as reason:
                # Before the log is set up, which is a setting itself, Python prints this to standard error.
                _log.warning("%s is ignored: %s (it is %r)", variable.name, reason, text)
                continue
            if value is not None:
                values[variable.field] = value
        return values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[None, str, bool]:
        """Required by the base class, for sources that are read field by field. Unused."""
        return None, field_name, False


def cleaned(text: str) -> str:
    return text.strip().strip(_QUOTES)
