"""Settings of the llama.cpp engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine_worker.engines.overrides import ModelOverrides
from engine_worker.settings import Task


@dataclass(frozen=True, slots=True)
class LlamacppOptions:
    model_path: Path
    names: Sequence[str]
    # Tokens of prompt and answer per slot; 0 means the model's trained length.
    context_length: int
    slots: int
    threads: int
    # Prompt tokens per engine step, in addition to one token per running request.
    prefill_chunk_tokens: int
    queue_limit: int
    gpu_layers: int
    # Bytes that the full KV cache of a model with sliding windows may take.
    sliding_window_cache_bytes: int
    # Jinja source that replaces the model's own template; empty keeps that.
    chat_template: str
    task: Task
    takes_adapters: bool
    overrides: ModelOverrides

    @property
    def generates(self) -> bool:
        return self.task == "generate"
