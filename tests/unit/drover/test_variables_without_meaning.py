"""Ollama's environment variables without a meaning here."""

from __future__ import annotations

import logging

import pytest

from drover.ollama_environment import HARMLESS, WITHOUT_MEANING, warn_of_variables_without_meaning
from engine_worker.settings import WorkerSettings
from frontend.settings import FrontendSettings

# All of Ollama 0.33; newer ones are not known.
_OLLAMAS = """
    AUTH CONTEXT_LENGTH DEBUG DEBUG_LOG_REQUESTS EDITOR FLASH_ATTENTION GO_TEMPLATE GPU_OVERHEAD HOST
    IGPU_ENABLE KEEP_ALIVE KV_CACHE_TYPE LLM_LIBRARY LOAD_TIMEOUT MAX_LOADED_MODELS MAX_QUEUE
    MAX_TRANSFER_STREAMS MODELS NOHISTORY NOPRUNE NO_CLOUD NUM_PARALLEL ORIGINS REMOTES SCHED_SPREAD VULKAN
"""


def test_each_variable_has_one_place() -> None:
    read = {
        variable.name
        for settings in (FrontendSettings, WorkerSettings)
        for variable in settings.ollama_variables
    }
    listed = [*read, *WITHOUT_MEANING, *HARMLESS]
    assert sorted(listed) == sorted(f"OLLAMA_{name}" for name in _OLLAMAS.split())


def test_each_that_is_set_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_variables_without_meaning(
        {"OLLAMA_FLASH_ATTENTION": " '1' ", "OLLAMA_MODELS": "", "OLLAMA_NO_CLOUD": "1"}
    )
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("drover.settings", logging.WARNING)
    assert record.getMessage().startswith("OLLAMA_FLASH_ATTENTION has no effect: ")


def test_nothing_is_logged_where_nothing_is_set(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_variables_without_meaning({"OLLAMA_HOST": "0.0.0.0", "PATH": "/bin"})
    assert caplog.records == []
