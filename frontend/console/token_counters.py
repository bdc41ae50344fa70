"""Tokens since the last sample, from the growing counters of the workers' load reports.

They count the requests of all frontends. An Ollama host has no such counters: its tokens are counted when an
answer of this frontend ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from drover.v1 import engine_pb2 as pb
from frontend.routing.fleet import WorkerStatus

# Of the newest sample in the moving average.
_NEWEST_WEIGHT = 0.3
_LEAST_RATE = 0.1


@dataclass(frozen=True, slots=True)
class TokenCounts:
    prompt: int
    cached: int
    generated: int

    @classmethod
    def of(cls, report: pb.LoadReport) -> TokenCounts:
        cached = report.cached_tokens_done
        return cls(report.prefill_tokens_done + cached, cached, report.decode_tokens_done)

    def since(self, earlier: TokenCounts) -> TokenCounts | None:
        """None where a counter fell: the worker has started again."""
        prompt, cached = self.prompt - earlier.prompt, self.cached - earlier.cached
        generated = self.generated - earlier.generated
        return None if min(prompt, cached, generated) < 0 else TokenCounts(prompt, cached, generated)


class TokenCounters:
    """`rates`: generated tokens a second of each worker, smoothed over some samples, one a second."""

    def __init__(self) -> None:
        self._last: dict[str, TokenCounts] = {}
        self.rates: dict[str, float] = {}

    def differences(self, workers: Iterable[WorkerStatus]) -> Iterator[tuple[WorkerStatus, TokenCounts]]:
        """What each worker has done since the last call; nothing for one that is new."""
        last, self._last = self._last, {}
        rates, self.rates = self.rates, {}
        for worker in workers:
            if worker.report is None:
                continue
            counts = self._last[worker.address] = TokenCounts.of(worker.report)
            since = counts.since(last[worker.address]) if worker.address in last else None
            if since is not None:
                before = rates.get(worker.address, float(since.generated))
                rate = before + _NEWEST_WEIGHT * (since.generated - before)
                self.rates[worker.address] = round(rate, 1) if rate >= _LEAST_RATE else 0.0
                yield worker, since
