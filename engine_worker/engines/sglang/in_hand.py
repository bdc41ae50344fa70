"""The requests that a worker and its SGLang have in hand, counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.upstream.process import EngineProcess


class InHand:
    """A request counts as long as SGLang's own table has it, also after its client left. Which of them run is
    seen by their first token, or told by SGLang's last snapshot.
    """

    def __init__(self, process: EngineProcess) -> None:
        self._process = process
        self._preparing = 0
        self._running: set[str] = set()
        self._report = pb.LoadReport()
        self._prompt_tokens_done = 0

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Around the work before SGLang knows of a request."""
        self._preparing += 1
        try:
            yield
        finally:
            self._preparing -= 1

    def runs(self, request_id: str) -> None:
        if request_id not in self._running:
            # Whether or not anybody asks for reports, what is over is forgotten.
            self._running &= self._process.in_flight()
            self._running.add(request_id)

    def produced(self, tokens: int) -> None:
        self._report.decode_tokens_done += tokens

    def ended(self, done: pb.Done) -> None:
        self._prompt_tokens_done += done.prompt_tokens
        self._report.cached_tokens_done += done.cached_tokens

    def report(self) -> pb.LoadReport:
        in_flight = self._process.in_flight()
        self._running &= in_flight
        load = self._process.load()
        report = self._report
        report.running = max(len(self._running), min(len(in_flight), load.running))
        report.running_limit = load.running_limit
        report.waiting = self._preparing + len(in_flight) - report.running
        report.waiting_prompt_tokens = load.waiting_prompt_tokens if report.waiting else 0
        report.kv_tokens_used = load.kv_tokens_used
        report.kv_tokens_total = load.kv_tokens_total
        report.prefill_tokens_done = load.prefill_tokens_done
        report.cache_hit_rate = report.cached_tokens_done / max(1, self._prompt_tokens_done)
        return report
