"""The options of the SGLang engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine_worker.engines.overrides import ModelOverrides
from engine_worker.settings import Task

MEMORY_SAVER = "--enable-memory-saver"
WEIGHTS_BACKUP = "--enable-weights-cpu-backup"


@dataclass(frozen=True, slots=True)
class AdapterRoom:
    """What SGLang keeps memory for: `count` adapters, of `rank` at most."""

    count: int
    rank: int


@dataclass(frozen=True, slots=True)
class SglangOptions:
    """The settings of one worker that concern SGLang."""

    # A directory with safetensors, or the id of a repository that SGLang downloads.
    model: str
    names: Sequence[str]
    # Tokens of prompt and answer that a request may have; None takes the model's own length.
    context_length: int | None
    # Requests that run at the same time; None leaves it to SGLang.
    slots: int | None
    # Prompt tokens per engine step; None leaves it to SGLang.
    prefill_chunk_tokens: int | None
    queue_limit: int
    # Threads that compute, on a machine without an accelerator.
    threads: int
    # A file that replaces the model's own template; empty keeps that.
    chat_template: str
    task: Task
    overrides: ModelOverrides
    # Most adapters at a time, and the largest rank of one; None for a worker that takes none.
    adapters: AdapterRoom | None
    # Further flags of `sglang serve`.
    flags: Sequence[str]
    # Tokens of the KV cache, and the part of the GPUs' free memory for it and the weights; None leaves them
    # to SGLang, which takes nearly all.
    kv_cache_tokens: int | None = None
    gpu_memory_part: float | None = None
    # Starting SGLang takes minutes, so the model stays, unless SGLang can sleep or a host ends the process.
    pinned: bool = True

    @property
    def sleeps(self) -> bool:
        """Whether SGLang was started so that it can free its device's memory and take it again."""
        return MEMORY_SAVER in self.flags

    @property
    def generates(self) -> bool:
        return self.task == "generate"
