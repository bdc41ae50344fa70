"""How much of a prompt is computed, reported during its prefill: a long prefill is progress too."""

from __future__ import annotations

from typing import cast

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json


class PrefillCount:
    """Of one request, in the report's ever-growing counter."""

    def __init__(self, report: pb.LoadReport) -> None:
        self._report = report
        self._counted = 0

    def saw(self, chunk: Json) -> None:
        """llama.cpp says after each step how far it is; what its cache had counts as processed there."""
        if "prompt_progress" in chunk:
            progress = cast("dict[str, int]", chunk["prompt_progress"])
            self._count(progress["processed"] - progress.get("cache", 0))

    def ends(self, computed_tokens: int) -> None:
        self._count(computed_tokens)

    def _count(self, computed_tokens: int) -> None:
        if computed_tokens > self._counted:
            self._report.prefill_tokens_done += computed_tokens - self._counted
            self._counted = computed_tokens
