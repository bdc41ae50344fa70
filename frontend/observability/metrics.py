"""Prometheus metrics of a frontend: counted once for each request, when it is over, and read from the fleet
when somebody scrapes. Nothing here is paid for per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from frontend.middleware.request_log import RequestRecord
from frontend.observability.process_metrics import ProcessMetrics
from frontend.routing.fleet import Fleet

PREFIX = "drover_frontend"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1)


def _none() -> int:
    return 0


class Metrics:
    """Labels come from the fleet and from our own routes only, so that no client can make more of them."""

    def __init__(
        self, fleet: Fleet, connections: Callable[[], int] = _none, body_bytes: Callable[[], int] = _none
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(ProcessMetrics(PREFIX, connections, body_bytes))
        self._registry.register(_FleetMetrics(fleet))
        self._requests = self._counter("requests", "Requests that are over.", "route", "model", "status")
        self._ttft = self._histogram("ttft_seconds", "From a request's arrival to its first token.", _SECONDS)
        self._inter_token = self._histogram(
            "inter_token_seconds", "Mean time between two tokens of an answer.", _TOKEN_SECONDS
        )
        self._queue = self._histogram(
            "queue_seconds", "Waiting for a worker, in this frontend and in the worker.", _SECONDS
        )
        self._tokens = self._counter(
            "tokens", "Tokens: prompt, cached (of the prompt), completion.", "model", "kind"
        )
        self._retries = self._counter("retries", "Requests sent again before their first token.", "model")
        self._moves = self._counter("moves", "Answers that went on on another worker.", "model")
        self._stuck = self._counter("stuck", "Answers that could not go on on another worker.", "reason")
        self._aborts = self._counter("aborts", "Answers that ended before their end.", "cause")
        self._truncations = self._counter("truncations", "Requests whose prompt was cut to fit.", "model")
        self._routes = self._counter(
            "route_decisions", "Requests that the smart router has sent somewhere.", "route", "reason"
        )
        self._fallbacks = self._counter(
            "route_fallbacks", "Requests whose side failed, so that the other one got them.", "route"
        )
        self._judging = self._histogram("judge_seconds", "How long a judge took.", _SECONDS)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def count(self, record: RequestRecord, route: str) -> None:
        """A request that is over."""
        model = record.served
        self._requests.labels(route, model, str(record.status)).inc()
        if record.retries:
            self._retries.labels(model).inc(record.retries)
        if record.moves:
            self._moves.labels(model).inc(record.moves)
        if record.stuck:
            self._stuck.labels(record.stuck).inc()
        if record.abort_cause:
            self._aborts.labels(record.abort_cause).inc()
        if record.truncated_tokens:
            self._truncations.labels(model).inc()
        if record.ttft_ns:
            self._ttft.labels(model).observe(record.ttft_ns / 1e9)
        self._count_route(record)
        self._count_tokens(record, model)

    def _count_route(self, record: RequestRecord) -> None:
        """A fallback counts under the side that failed."""
        if record.judge:
            self._judging.labels(record.judge).observe(record.judge_seconds)
        if record.routed is None:
            return
        self._routes.labels(record.routed.side, record.routed.decision).inc()
        if record.routed.fell_back:
            self._fallbacks.labels(record.routed.side).inc()

    def _count_tokens(self, record: RequestRecord, model: str) -> None:
        done = record.done
        if done is None:
            return
        self._queue.labels(model).observe(record.waited.seconds + done.timings.queue_ns / 1e9)
        self._tokens.labels(model, "prompt").inc(done.prompt_tokens)
        self._tokens.labels(model, "cached").inc(done.cached_tokens)
        self._tokens.labels(model, "completion").inc(done.completion_tokens)
        if done.completion_tokens > 1 and done.timings.decode_ns:
            mean_ns = done.timings.decode_ns / (done.completion_tokens - 1)
            self._inter_token.labels(model).observe(mean_ns / 1e9)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", about, labels, registry=self._registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", about, ("model",), buckets=buckets, registry=self._registry)


class _FleetMetrics(Collector):
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[GaugeMetricFamily]:
        waiting = GaugeMetricFamily(
            f"{PREFIX}_waiting_requests", "Requests that wait in this frontend.", labels=("model",)
        )
        for model, count in self._fleet.admission.waiting_by_model.items():
            waiting.add_metric((model,), count)
        yield waiting
        labels = ("worker", "model")
        running = GaugeMetricFamily(
            f"{PREFIX}_running_requests", "Requests of this frontend at a worker.", labels=labels
        )
        state = GaugeMetricFamily(f"{PREFIX}_worker_ready", "Whether a worker takes requests.", labels=labels)
        cached = GaugeMetricFamily(
            f"{PREFIX}_worker_cache_hit_ratio", "Prompt tokens found in the prefix cache.", labels=labels
        )
        for seen in self._fleet.workers():
            values = (seen.address, seen.model)
            running.add_metric(values, seen.requests)
            state.add_metric(values, seen.ready)
            cached.add_metric(values, seen.cache_hit_rate)
        yield from (running, state, cached)
