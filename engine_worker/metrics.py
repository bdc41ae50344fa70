"""Prometheus metrics of a worker on their own address: its load report at the time of the scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as NoAnswer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from drover.metrics import MetricSpec
from drover.settings import split_address
from drover.v1 import engine_pb2 as pb

_PREFIX = "drover_worker"
_REPORT_SECONDS = 2.0


def _gauge(name: str, meaning: str) -> MetricSpec:
    return MetricSpec(f"{_PREFIX}_{name}", "gauge", meaning, ("model",))


def _counter(name: str, meaning: str) -> MetricSpec:
    return MetricSpec(f"{_PREFIX}_{name}", "counter", meaning, ("model",))


# With the field of the load report that each shows.
METRICS = {
    _gauge("running_requests", "Requests in the engine's batch."): "running",
    _gauge("running_limit", "Largest number of requests in the engine's batch."): "running_limit",
    _gauge("waiting_requests", "Requests that wait in the worker's queue."): "waiting",
    _gauge("waiting_prompt_tokens", "Prompt tokens of the waiting requests."): "waiting_prompt_tokens",
    _gauge("kv_tokens_used", "Tokens in the KV cache."): "kv_tokens_used",
    _gauge("kv_tokens", "Capacity of the KV cache in tokens."): "kv_tokens_total",
    _gauge("cache_hit_ratio", "Share of prompt tokens found in the prefix cache, 0 to 1."): "cache_hit_rate",
    _gauge("loaded", "1 while the model is in memory, else 0."): "loaded",
    _gauge("draining", "1 while the worker takes no new requests, else 0."): "draining",
    _gauge("frontends", "Frontends that are connected."): "frontends",
    _counter("prefill_tokens", "Prompt tokens computed."): "prefill_tokens_done",
    _counter("cached_tokens", "Prompt tokens found in the prefix cache."): "cached_tokens_done",
    _counter("decode_tokens", "Tokens generated."): "decode_tokens_done",
}


class WorkerMetrics(Collector):
    """`names`: the model's, of which the first is the label. `report` is called in `loop` while the scrape's
    thread waits; a scrape that gets none in time is empty.
    """

    def __init__(
        self, names: list[str], report: Callable[[], pb.LoadReport], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._model = names[0] if names else ""
        self._report = report
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        try:
            report = asyncio.run_coroutine_threadsafe(self._read(), self._loop).result(_REPORT_SECONDS)
        except NoAnswer:
            return
        for metric, field in METRICS.items():
            yield metric.family([((self._model,), getattr(report, field))])

    async def _read(self) -> pb.LoadReport:
        return self._report()


def serve(address: str, *collectors: Collector) -> Callable[[], None]:
    """Serve /metrics until the returned function is called. Raises OSError for an address in use."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    host, port = split_address(address)
    server, _ = start_http_server(port, host, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop
