"""A Prometheus metric as data: collectors and docs/metrics.md are made from the same description."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """`name`: with its prefix, without the `_total` that Prometheus adds to counters. `meaning`: HELP."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exposed_name(self) -> str:
        """As a scrape has it; a histogram's has `_bucket`, `_sum` and `_count` appended."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def counter(self, registry: CollectorRegistry) -> Counter:
        return Counter(self.name, self.meaning, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        return Histogram(self.name, self.meaning, self.labels, buckets=self.buckets, registry=registry)

    def family(
        self, samples: Iterable[tuple[Sequence[str], float]]
    ) -> CounterMetricFamily | GaugeMetricFamily:
        """A counter or gauge read at the scrape: `samples` are label values with the metric's value."""
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family = kind(self.name, self.meaning, labels=self.labels)
        for values, value in samples:
            family.add_metric(list(values), value)
        return family
