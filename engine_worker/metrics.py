"""Prometheus metrics of a worker, at an address of their own: what its engine reports, read when somebody
scrapes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as NoAnswer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from drover.settings import split_address
from drover.v1 import engine_pb2 as pb

_PREFIX = "drover_worker"
_ANSWER_SECONDS = 2.0
_GAUGES = {
    "running_requests": ("running", "Requests in the engine's batch."),
    "running_limit": ("running_limit", "Requests that it takes at most."),
    "waiting_requests": ("waiting", "Requests that wait in the worker."),
    "waiting_prompt_tokens": ("waiting_prompt_tokens", "Prompt tokens of those that wait."),
    "kv_tokens_used": ("kv_tokens_used", "Tokens in the KV cache."),
    "kv_tokens": ("kv_tokens_total", "Tokens that the KV cache holds."),
    "cache_hit_ratio": ("cache_hit_rate", "Prompt tokens found in the prefix cache."),
    "loaded": ("loaded", "Whether the model is in memory."),
    "draining": ("draining", "Whether it takes no new requests."),
    "frontends": ("frontends", "Frontends that watch it."),
}
_COUNTERS = {
    "prefill_tokens": ("prefill_tokens_done", "Prompt tokens computed."),
    "cached_tokens": ("cached_tokens_done", "Prompt tokens found in the prefix cache."),
    "decode_tokens": ("decode_tokens_done", "Tokens generated."),
}


class WorkerMetrics(Collector):
    """`report` is called in the event loop; the scrape's own thread waits for it."""

    def __init__(
        self, names: list[str], report: Callable[[], pb.LoadReport], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._model = names[0] if names else ""
        self._report = report
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        try:
            report = asyncio.run_coroutine_threadsafe(self._asked(), self._loop).result(_ANSWER_SECONDS)
        except NoAnswer:
            return
        for name, (field, about) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"{_PREFIX}_{name}", about, labels=("model",))
            gauge.add_metric((self._model,), getattr(report, field))
            yield gauge
        for name, (field, about) in _COUNTERS.items():
            counter = CounterMetricFamily(f"{_PREFIX}_{name}", about, labels=("model",))
            counter.add_metric((self._model,), getattr(report, field))
            yield counter

    async def _asked(self) -> pb.LoadReport:
        return self._report()


def serve(address: str, metrics: WorkerMetrics) -> Callable[[], None]:
    """Until what it returns is called. Raises OSError when nothing can listen there."""
    registry = CollectorRegistry()
    registry.register(metrics)
    host, port = split_address(address)
    server, _ = start_http_server(port, host, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop
