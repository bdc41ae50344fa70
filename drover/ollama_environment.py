"""Ollama's environment variables as a source of settings: below flags and DROVER_*, above defaults.

They are parsed as Ollama parses them (docs/reference/ollama-contract.md, "Environment variables"): spaces and
quotes around a value do not count. A value that cannot be parsed is logged and ignored; a wrong DROVER_*
setting stops the start. Those that have no meaning here are warned about.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from drover.ollama_values import Ignored

_log = logging.getLogger("drover.settings")
_QUOTES = "\"'"

# Of Ollama's server. Those that the tiers read are listed in their settings.
WITHOUT_MEANING: Mapping[str, str] = {
    "OLLAMA_AUTH": "there are no accounts of ollama.com here",
    "OLLAMA_DEBUG_LOG_REQUESTS": "bodies are never logged; each request has a line in the log",
    "OLLAMA_FLASH_ATTENTION": "the engine of a worker chooses its attention; for SGLang: --sglang-args",
    "OLLAMA_GO_TEMPLATE": "a worker's --chat-template decides which template is used",
    "OLLAMA_GPU_OVERHEAD": "the engine of a worker plans its memory; for SGLang: --sglang-args",
    "OLLAMA_IGPU_ENABLE": "a worker uses the devices that its engine was built for",
    "OLLAMA_KV_CACHE_TYPE": "the engine of a worker chooses it; for SGLang: --sglang-args",
    "OLLAMA_LLM_LIBRARY": "a worker's --engine decides",
    "OLLAMA_MAX_LOADED_MODELS": "each worker has one model; start as many workers as models",
    "OLLAMA_MAX_TRANSFER_STREAMS": "nothing is downloaded",
    "OLLAMA_MODELS": "a worker's --model names its files, and a host has --store",
    "OLLAMA_NOPRUNE": "nothing is downloaded, and nothing pruned",
    "OLLAMA_REMOTES": "no request is forwarded to ollama.com; other hosts are named in --workers",
    "OLLAMA_SCHED_SPREAD": "the engine of a worker places its model; for SGLang: --sglang-args",
    "OLLAMA_VULKAN": "a worker uses the devices that its engine was built for",
}
# Of the CLI, or true of this server without it.
HARMLESS = ("OLLAMA_EDITOR", "OLLAMA_NOHISTORY", "OLLAMA_NO_CLOUD")

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


def warn_of_variables_without_meaning(environment: Mapping[str, str]) -> None:
    """Log a warning for each that is set. To be called once, when a process starts and its log is set up."""
    for name, hint in WITHOUT_MEANING.items():
        if cleaned(environment.get(name, "")):
            _log.warning("%s has no effect: %s", name, hint)


def cleaned(text: str) -> str:
    return text.strip().strip(_QUOTES)
