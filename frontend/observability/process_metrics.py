"""Metrics of the process itself: what would show that something is left of requests that are over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class ProcessMetrics(Collector):
    """Read when somebody scrapes, in the event loop."""

    def __init__(self, prefix: str, connections: Callable[[], int], body_bytes: Callable[[], int]) -> None:
        self._prefix = prefix
        self._connections = connections
        self._body_bytes = body_bytes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield self._gauge("connections", "Open HTTP connections.", self._connections())
        yield self._gauge(
            "body_bytes", "Bodies of requests in flight, beyond 64 KiB each.", self._body_bytes()
        )
        yield self._gauge("tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))

    def _gauge(self, name: str, about: str, value: float) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._prefix}_{name}", about, value)
