"""SGLang's load snapshots, over all ranks of one engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Snapshot(Protocol):
    """The fields that are read of sglang.srt.managers.load_snapshot.LoadSnapshot."""

    num_running_reqs: int
    num_waiting_reqs: int
    num_waiting_uncached_tokens: int
    num_used_tokens: int
    max_total_num_tokens: int
    max_running_requests: int
    total_prefill_uncached_tokens: int


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """SGLang's load at its last published engine step (--load-snapshot-publish-interval)."""

    running: int
    running_limit: int
    waiting_prompt_tokens: int
    kv_tokens_used: int
    kv_tokens_total: int
    prefill_tokens_done: int


def read_load(snapshots: Sequence[Snapshot]) -> EngineLoad:
    return EngineLoad(
        running=sum(rank.num_running_reqs for rank in snapshots),
        running_limit=sum(rank.max_running_requests for rank in snapshots),
        waiting_prompt_tokens=sum(rank.num_waiting_uncached_tokens for rank in snapshots),
        kv_tokens_used=sum(rank.num_used_tokens for rank in snapshots),
        kv_tokens_total=sum(rank.max_total_num_tokens for rank in snapshots),
        prefill_tokens_done=sum(rank.total_prefill_uncached_tokens for rank in snapshots),
    )
