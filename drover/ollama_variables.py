"""Ollama's environment variables that have no meaning here, and what to do instead
(ollama-contract.md, "Environment variables").
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from drover.ollama_environment import cleaned

_log = logging.getLogger("drover.settings")

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
    "OLLAMA_MODELS": "a worker's --model names its files",
    "OLLAMA_NOPRUNE": "nothing is downloaded, and nothing pruned",
    "OLLAMA_REMOTES": "no request is forwarded to ollama.com; other hosts are named in --workers",
    "OLLAMA_SCHED_SPREAD": "the engine of a worker places its model; for SGLang: --sglang-args",
    "OLLAMA_VULKAN": "a worker uses the devices that its engine was built for",
}
# Of the CLI, or true of this server without it.
HARMLESS = ("OLLAMA_EDITOR", "OLLAMA_NOHISTORY", "OLLAMA_NO_CLOUD")


def warn_of_variables_without_meaning(environment: Mapping[str, str]) -> None:
    """Log a warning for each that is set. To be called once, when a process starts and its log is set up."""
    for name, hint in WITHOUT_MEANING.items():
        if cleaned(environment.get(name, "")):
            _log.warning("%s has no effect: %s", name, hint)
