"""The requests that a worker has in hand, counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.output import Output
from engine_worker.engines.sglang.upstream.process import EngineProcess


@dataclass(slots=True)
class _Totals:
    """Since the start. Prompts count when their answer is over."""

    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0

    def add(self, output: Output) -> None:
        self.tokens += output.new_tokens
        self.prompt_tokens += output.done.prompt_tokens
        self.cached_tokens += output.done.cached_tokens


class InFlight:
    """A request counts as long as SGLang's own table has it, also after its client left. Which of them run is
    seen by their first token, or told by SGLang's last snapshot. Nothing is done for each token: a report
    looks at the answers.
    """

    def __init__(self, process: EngineProcess) -> None:
        self._process = process
        self._preparing = 0
        self._answering: dict[str, Output] = {}
        self._running: set[str] = set()
        self._ended = _Totals()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Around the work before SGLang knows of a request."""
        self._preparing += 1
        try:
            yield
        finally:
            self._preparing -= 1

    @contextmanager
    def answering(self, request_id: str, output: Output) -> Iterator[None]:
        """Around an answer of SGLang's."""
        self._answering[request_id] = output
        try:
            yield
        finally:
            # Whether or not anybody asks for reports, what is over is forgotten.
            self._running = self._running_of(self._process.in_flight())
            del self._answering[request_id]
            self._ended.add(output)

    def report(self) -> pb.LoadReport:
        in_flight = self._process.in_flight()
        self._running = self._running_of(in_flight)
        totals = replace(self._ended)
        for output in self._answering.values():
            totals.add(output)
        load = self._process.load()
        running = max(len(self._running), min(len(in_flight), load.running))
        waiting = self._preparing + len(in_flight) - running
        return pb.LoadReport(
            running=running,
            running_limit=load.running_limit,
            waiting=waiting,
            waiting_prompt_tokens=load.waiting_prompt_tokens if waiting else 0,
            kv_tokens_used=load.kv_tokens_used,
            kv_tokens_total=load.kv_tokens_total,
            prefill_tokens_done=load.prefill_tokens_done,
            decode_tokens_done=totals.tokens,
            cached_tokens_done=totals.cached_tokens,
            cache_hit_rate=totals.cached_tokens / max(1, totals.prompt_tokens),
        )

    def _running_of(self, in_flight: set[str]) -> set[str]:
        """Those that have had tokens and that SGLang has not let go of."""
        begun = {request_id for request_id, output in self._answering.items() if output.has_begun}
        return (self._running | begun) & in_flight
