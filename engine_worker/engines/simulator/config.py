"""The size and the speed of the simulated engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_ABOVE_ZERO = ("prefill_tokens_per_second",)
_AT_LEAST = {
    "prefill_chunk_tokens": 1,
    "decode_step_base_ms": 0,
    "decode_step_per_running_ms": 0,
    "running_limit": 1,
    "kv_tokens": 1,
    "context_length": 4,
    "block_tokens": 1,
    "queue_limit": 0,
    "seed": 0,
    "answer_tokens_min": 1,
    "token_bytes": 1,
    "load_ms": 0,
    "stall_prefill_after_tokens": 0,
    "stall_decode_after_tokens": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """The size and the speed of the simulated engine. Raises ValueError for impossible values.

    An engine step takes `decode_step_base_ms` + `decode_step_per_running_ms` for each request that takes part
    in it, and if it carries prefill, the time of those tokens on top.
    """

    prefill_tokens_per_second: float = 8000.0
    """Prompt tokens computed in a second, over all requests."""
    prefill_chunk_tokens: int = 512
    """Most prompt tokens in one step, over all requests."""
    decode_step_base_ms: float = 6.0
    decode_step_per_running_ms: float = 0.35
    running_limit: int = 256
    """Requests in the batch."""
    kv_tokens: int = 524_288
    """Tokens that the KV cache holds; at least `context_length`."""
    context_length: int = 8192
    """Tokens of prompt and answer that one request may have."""
    block_tokens: int = 16
    """The prefix cache finds whole blocks of this many tokens."""
    queue_limit: int = 512
    """Requests that may wait for the batch; the next one is refused with QueueFull."""
    seed: int = 0
    """Each seed gives other answers to the same prompts."""
    answer_tokens_min: int = 16
    """Tokens of the shortest answer that ends by itself, its end-of-sequence token not counted."""
    answer_tokens_max: int = 128
    token_bytes: int = 3
    """UTF-8 bytes in a token at most, 1 to 3; longer characters are split over tokens."""
    load_ms: float = 0.0
    """Duration of loading the model, at the start and after each unload."""
    stall_prefill_after_tokens: int | None = None
    """A request with a longer prompt stalls after so many prompt tokens until it is cancelled."""
    stall_decode_after_tokens: int | None = None
    """A request that has produced so many tokens stalls until it is cancelled."""
    script_path: Path | None = None
    """A JSON file with answers to play, see script.py."""

    def __post_init__(self) -> None:
        for name in _ABOVE_ZERO:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be above 0")
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name} is {value}, it must be {least} or more")
        if self.token_bytes > 3:
            raise ValueError(f"token_bytes is {self.token_bytes}, it must be 1 to 3")
        if self.answer_tokens_max < self.answer_tokens_min:
            raise ValueError(
                f"answer_tokens_max is {self.answer_tokens_max}, "
                f"it must not be below answer_tokens_min, {self.answer_tokens_min}"
            )
        if self.kv_tokens < self.context_length:
            raise ValueError(
                f"kv_tokens is {self.kv_tokens}, it must not be below context_length, {self.context_length}"
            )
