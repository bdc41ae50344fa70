"""Prometheus metrics of a host: what is counted as it happens, and its state at the time of the scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as NoAnswer

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from drover.metrics import Kind, MetricSpec
from drover.v1 import host_pb2

_STATE_SECONDS = 2.0


def _spec(
    kind: Kind, name: str, meaning: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = ()
) -> MetricSpec:
    return MetricSpec(f"drover_host_{name}", kind, meaning, labels, buckets)


MODELS = _spec("gauge", "models", "Models in the store.")
LOADED = _spec("gauge", "loaded_models", "Models in memory, with those that load or drain.")
WAITING = _spec("gauge", "waiting_models", "Models that requests wait for and that are not in memory.")
MEMORY = _spec("gauge", "memory_bytes", "Memory of the models: measured, and estimated while they load.")
BUDGET = _spec("gauge", "memory_budget_bytes", "Memory that models may take.")
# The ids are the driver's: as many as the machine has GPUs, or parts of them.
GPU_MEMORY = _spec(
    "gauge",
    "gpu_memory_bytes",
    "Memory of the models on each GPU, by its id: measured, and estimated while they load.",
    ("gpu",),
)
GPU_BUDGET = _spec(
    "gauge",
    "gpu_memory_budget_bytes",
    "Memory of each GPU that models may take: less where other programs use it.",
    ("gpu",),
)
DISK = _spec("gauge", "disk_bytes", "Bytes of the files in the store, unfinished ones too.")
LOAD_SECONDS = _spec(
    "histogram",
    "load_seconds",
    "From the start of a worker until it is ready.",
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
)
EVICTIONS = _spec("counter", "evictions", "Models that made room for others.")
FAILURES = _spec(
    "counter", "worker_failures", "Workers that ended by themselves, by phase: load or serve.", ("phase",)
)
PULLS = _spec("counter", "pulls", "Ended pulls, by result: ok, failed or cancelled.", ("result",))
PULLED = _spec("counter", "pulled_bytes", "Bytes downloaded by pulls.")

GAUGES = (MODELS, LOADED, WAITING, MEMORY, BUDGET, GPU_MEMORY, GPU_BUDGET, DISK)
METRICS = (*GAUGES, LOAD_SECONDS, EVICTIONS, FAILURES, PULLS, PULLED)

Gauges = Mapping[MetricSpec, float]


class HostCounts:
    """What is counted as it happens."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.load_seconds = LOAD_SECONDS.histogram(self.registry)
        self.evictions = EVICTIONS.counter(self.registry)
        self.failures = FAILURES.counter(self.registry)
        self.pulls = PULLS.counter(self.registry)
        self.pulled_bytes = PULLED.counter(self.registry)


class HostState(Collector):
    """`gauges` and `gpus` are called in `loop` while the scrape's thread waits, `disk_bytes` in that thread.
    A scrape that gets no answer in time has none of them.
    """

    def __init__(
        self,
        gauges: Callable[[], Gauges],
        gpus: Callable[[], Sequence[host_pb2.Gpu]],
        disk_bytes: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._gauges = gauges
        self._gpus = gpus
        self._disk_bytes = disk_bytes
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        try:
            read = asyncio.run_coroutine_threadsafe(self._read(), self._loop).result(_STATE_SECONDS)
        except NoAnswer:
            return
        gauges, gpus = read
        for metric, value in {**gauges, DISK: self._disk_bytes()}.items():
            yield metric.family([((), value)])
        yield GPU_MEMORY.family([((each.id,), each.used_bytes) for each in gpus])
        yield GPU_BUDGET.family([((each.id,), each.budget_bytes) for each in gpus])

    async def _read(self) -> tuple[Gauges, Sequence[host_pb2.Gpu]]:
        return self._gauges(), self._gpus()
