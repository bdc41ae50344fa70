"""What `sglang.Engine` takes for a request and gives for an answer, as far as the worker uses it."""

from __future__ import annotations

from typing import TypedDict


class Finish(TypedDict, total=False):
    """Why an answer ended: `type` is stop, length or abort, `matched` a token id or a stop text."""

    type: str
    matched: int | str
    message: str
    status_code: int | None


class Meta(TypedDict, total=False):
    """Counts so far; times are unix seconds of the scheduler, absent without --enable-metrics."""

    finish_reason: Finish | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    queue_time: float
    forward_entry_time: float
    prefill_finished_time: float
    request_finished_ts: float
    output_token_logprobs: list[tuple[float, int, None]]
    output_top_logprobs: list[list[tuple[float, int, None]] | None]
    output_token_ids_logprobs: list[list[tuple[float, int, None]]]


class Chunk(TypedDict):
    """New text and tokens. The text of an abort has no meaning."""

    text: str
    output_ids: list[int]
    meta_info: Meta


class SglangRequest(TypedDict, total=False):
    """The arguments of Engine.async_generate."""

    rid: str
    prompt: str
    input_ids: list[int]
    image_data: list[bytes]
    sampling_params: dict[str, object]
    return_logprob: bool
    top_logprobs_num: int
    require_reasoning: bool
    priority: int
    cache_salt: str
    lora_path: str
    external_trace_header: dict[str, str]


class SglangScoreRequest(TypedDict, total=False):
    """The arguments of Engine.async_generate for several prompts that are only prefilled."""

    rid: list[str]
    prompt: list[str]
    input_ids: list[list[int]]
    image_data: list[list[bytes]]
    token_ids_logprob: list[list[int]]
    priority: int
    cache_salt: str
    lora_path: list[str]
    external_trace_header: dict[str, str]
