"""Count the requests that are in flight in SGLang, for load reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.output import Output
from engine_worker.engines.sglang.upstream.process import EngineProcess


@dataclass(slots=True)
class _Totals:
    """Tokens since the start. A prompt counts when its answer has ended."""

    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0

    def add(self, output: Output) -> None:
        self.tokens += output.new_tokens
        self.prompt_tokens += output.done.prompt_tokens
        self.cached_tokens += output.done.cached_tokens


class InFlight:
    """The requests in flight.

    A request counts as long as SGLang's own table has it, even if its client has left. It counts as running
    from its first token, or by SGLang's last snapshot. Nothing is counted per token: a report reads the
    outputs.
    """

    def __init__(self, process: EngineProcess) -> None:
        self._process = process
        self._preparing = 0
        self._outputs: dict[str, Output] = {}
        self._running: set[str] = set()
        self._ended = _Totals()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Count a request as waiting while it is prepared, before SGLang knows of it."""
        self._preparing += 1
        try:
            yield
        finally:
            self._preparing -= 1

    @contextmanager
    def generating(self, request_id: str, output: Output) -> Iterator[None]:
        """Count the tokens of `output` while SGLang generates it, and afterwards."""
        self._outputs[request_id] = output
        try:
            yield
        finally:
            # Forget requests that have ended even if no report is ever asked for.
            self._running = self._running_of(self._process.in_flight())
            del self._outputs[request_id]
            self._ended.add(output)

    def scored(self, response: pb.ScoreResponse) -> None:
        """Count the prompts of a request that has been scored."""
        self._ended.prompt_tokens += response.prompt_tokens
        self._ended.cached_tokens += response.cached_tokens

    def report(self) -> pb.LoadReport:
        in_flight = self._process.in_flight()
        self._running = self._running_of(in_flight)
        totals = replace(self._ended)
        for output in self._outputs.values():
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
        """The requests that have produced tokens and are still in SGLang's table."""
        begun = {request_id for request_id, output in self._outputs.items() if output.has_begun}
        return (self._running | begun) & in_flight
