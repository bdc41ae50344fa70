"""Prometheus metrics of a frontend: counted once per request, when it ends, or read from the fleet when they
are scraped. Nothing is counted per token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from drover.metrics import MetricSpec
from frontend.access.key import Key
from frontend.observability.request_record import RequestRecord
from frontend.routing.fleet import Fleet, WorkerStatus

_PREFIX = "drover_frontend"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1)


def _counter(name: str, meaning: str, *labels: str) -> MetricSpec:
    return MetricSpec(f"{_PREFIX}_{name}", "counter", meaning, labels)


def _gauge(name: str, meaning: str, *labels: str) -> MetricSpec:
    return MetricSpec(f"{_PREFIX}_{name}", "gauge", meaning, labels)


def _histogram(name: str, meaning: str, buckets: tuple[float, ...]) -> MetricSpec:
    return MetricSpec(f"{_PREFIX}_{name}", "histogram", meaning, ("model",), buckets)


_REQUESTS = _counter("requests", "Finished HTTP requests.", "route", "model", "status")
_TTFT = _histogram("ttft_seconds", "Time to first token, from a request's arrival.", _SECONDS)
_INTER_TOKEN = _histogram(
    "inter_token_seconds", "Mean time between two tokens of a response.", _TOKEN_SECONDS
)
_QUEUE = _histogram("queue_seconds", "Time in the queues of this frontend and of the worker.", _SECONDS)
_TOKENS = _counter(
    "tokens",
    "Tokens of prompts, from the prefix cache, and generated, also of responses that were cut off.",
    "model",
    "kind",
)
_RETRIES = _counter("retries", "Attempts on another worker before the first token.", "model")
_FAILOVERS = _counter("failovers", "Responses resumed on another worker after the first token.", "model")
_NOT_RESUMABLE = _counter("not_resumable", "Responses that could not resume on another worker.", "reason")
_ERRORS = _counter("errors", "Requests that ended with an error, by its name.", "error", "model")
_ABORTS = _counter("aborts", "Responses that ended early.", "cause")
_TRUNCATIONS = _counter("truncations", "Requests whose prompt was truncated to fit the context.", "model")
_DECISIONS = _counter("route_decisions", "Requests that the smart router sent to a side.", "route", "reason")
_FALLBACKS = _counter("route_fallbacks", "Requests sent to the other side because this one failed.", "route")
_REFUSED = _counter("refused", "Requests refused because a limit of their key was reached.", "limit")
_JUDGE = _histogram("judge_seconds", "Time that a smart router's judge took.", _SECONDS)

_LOOP_DELAY = MetricSpec(
    f"{_PREFIX}_event_loop_delay_seconds",
    "histogram",
    "How much later than asked for the event loop ran a timer, four times a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
_OTHER_KEYS = "other"
_KEY_REQUESTS = _counter(
    "key_requests", "Finished HTTP requests, by the key's name; `other` beyond --max-key-metrics.", "key"
)
_KEY_TOKENS = _counter(
    "key_tokens", "Tokens as in `drover_frontend_tokens_total`, by the key's name.", "key", "kind"
)
_DATABASE = _gauge("database_available", "1 if the last use of the database succeeded, else 0.")
_CERTIFICATE = _gauge(
    "certificate_expiry_timestamp_seconds",
    "When the first of this frontend's certificates expires, in unix seconds; 0 if it is refused.",
)
_CONNECTIONS = _gauge("connections", "Open HTTP connections.")
_BODY_BYTES = _gauge("body_bytes", "Bytes of request bodies in memory, beyond 64 KiB each.")
_TASKS = _gauge("tasks", "Tasks of the event loop.")
_WAITING = _gauge("waiting_requests", "Requests that wait in this frontend's queue.", "model")
_RUNNING = _gauge("running_requests", "Requests of this frontend on a worker.", "worker", "model")
_READY = _gauge("worker_ready", "1 while a worker takes requests, else 0.", "worker", "model")
_DRAINING = _gauge("worker_draining", "1 while a worker shuts down, else 0.", "worker", "model")
_STALLED = _gauge("worker_stalled", "1 while a worker makes no progress, else 0.", "worker", "model")
_CIRCUIT_OPEN = _gauge(
    "worker_circuit_open",
    "1 while the circuit breaker keeps requests from a worker, else 0.",
    "worker",
    "model",
)
_CACHE_HITS = _gauge(
    "worker_cache_hit_ratio", "Share of prompt tokens found in the prefix cache, 0 to 1.", "worker", "model"
)

METRICS = (
    *(_REQUESTS, _TTFT, _INTER_TOKEN, _QUEUE, _TOKENS, _RETRIES, _FAILOVERS, _NOT_RESUMABLE, _ERRORS),
    *(_ABORTS, _TRUNCATIONS, _DECISIONS, _FALLBACKS, _JUDGE, _WAITING, _RUNNING, _READY, _DRAINING),
    *(_STALLED, _CIRCUIT_OPEN, _CACHE_HITS, _CONNECTIONS, _BODY_BYTES, _TASKS, _LOOP_DELAY, _DATABASE),
    *(_CERTIFICATE, _REFUSED, _KEY_REQUESTS, _KEY_TOKENS),
)


def _none() -> int:
    return 0


def _yes() -> bool:
    return True


def _no_certificate() -> None:
    return None


class Metrics:
    """Label values come from the fleet, the keys and the code's own routes, so that no client can add series.
    `connections`, `body_bytes`, `has_database` and `certificate_expires`: this process's, read when they are
    scraped. `max_keys`: keys with series of their own.
    """

    def __init__(
        self,
        fleet: Fleet,
        connections: Callable[[], int] = _none,
        body_bytes: Callable[[], int] = _none,
        has_database: Callable[[], bool] = _yes,
        certificate_expires: Callable[[], float | None] = _no_certificate,
        max_keys: int = 0,
    ) -> None:
        self._max_keys, self._keys = max_keys, set[str]()
        registry = self._registry = CollectorRegistry()
        registry.register(_ProcessMetrics(connections, body_bytes, has_database, certificate_expires))
        registry.register(_FleetMetrics(fleet))
        self._requests = _REQUESTS.counter(registry)
        self._ttft = _TTFT.histogram(registry)
        self._inter_token = _INTER_TOKEN.histogram(registry)
        self._queue = _QUEUE.histogram(registry)
        self._tokens = _TOKENS.counter(registry)
        self._retries = _RETRIES.counter(registry)
        self._failovers = _FAILOVERS.counter(registry)
        self._not_resumable = _NOT_RESUMABLE.counter(registry)
        self._errors = _ERRORS.counter(registry)
        self._aborts = _ABORTS.counter(registry)
        self._truncations = _TRUNCATIONS.counter(registry)
        self._decisions = _DECISIONS.counter(registry)
        self._fallbacks = _FALLBACKS.counter(registry)
        self._refused = _REFUSED.counter(registry)
        self._judge = _JUDGE.histogram(registry)
        self._key_requests = _KEY_REQUESTS.counter(registry)
        self._key_tokens = _KEY_TOKENS.counter(registry)
        self._loop_delay = _LOOP_DELAY.histogram(registry)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)

    def observe_loop_delay(self, seconds: float) -> None:
        self._loop_delay.observe(seconds)

    def count(self, record: RequestRecord, route: str) -> None:
        """Count a finished request. `route`: its path template."""
        model = record.served
        self._requests.labels(route, model, str(record.status)).inc()
        if record.retries:
            self._retries.labels(model).inc(record.retries)
        if record.failovers:
            self._failovers.labels(model).inc(record.failovers)
        if record.not_resumable:
            self._not_resumable.labels(record.not_resumable).inc()
        if record.error:
            self._errors.labels(record.error, model).inc()
        if record.abort_cause:
            self._aborts.labels(record.abort_cause).inc()
        if record.refused_limit:
            self._refused.labels(record.refused_limit).inc()
        if record.truncated_tokens:
            self._truncations.labels(model).inc()
        if record.ttft_ns:
            self._ttft.labels(model).observe(record.ttft_ns / 1e9)
        self._count_route(record)
        self._count_tokens(record, model)
        if record.key is not None and self._max_keys:
            self._count_key(record, record.key)

    def _count_route(self, record: RequestRecord) -> None:
        """A fallback counts for the side that failed."""
        if record.judge:
            self._judge.labels(record.judge).observe(record.judge_seconds)
        if record.routed is None:
            return
        self._decisions.labels(record.routed.side, record.routed.decision).inc()
        if record.routed.fell_back:
            self._fallbacks.labels(record.routed.side).inc()

    def _count_key(self, record: RequestRecord, key: Key) -> None:
        name = key.name
        if name not in self._keys:
            if len(self._keys) < self._max_keys:
                self._keys.add(name)
            else:
                name = _OTHER_KEYS
        tokens = record.tokens
        self._key_requests.labels(name).inc()
        self._key_tokens.labels(name, "prompt").inc(tokens.prompt)
        self._key_tokens.labels(name, "cached").inc(tokens.cached)
        self._key_tokens.labels(name, "completion").inc(tokens.generated)

    def _count_tokens(self, record: RequestRecord, model: str) -> None:
        tokens, done = record.tokens, record.done
        if record.granted_ns or (record.asked_ns and not record.is_refused):
            self._queue.labels(model).observe(record.queued_seconds)
            self._tokens.labels(model, "prompt").inc(tokens.prompt)
            self._tokens.labels(model, "cached").inc(tokens.cached)
            self._tokens.labels(model, "completion").inc(tokens.generated)
        if done is not None and done.completion_tokens > 1 and done.timings.decode_ns:
            mean_ns = done.timings.decode_ns / (done.completion_tokens - 1)
            self._inter_token.labels(model).observe(mean_ns / 1e9)


class _ProcessMetrics(Collector):
    """Gauges that fall again when requests end, else something leaks. Collected in the event loop."""

    def __init__(
        self,
        connections: Callable[[], int],
        body_bytes: Callable[[], int],
        has_database: Callable[[], bool],
        certificate_expires: Callable[[], float | None],
    ) -> None:
        self._connections = connections
        self._body_bytes = body_bytes
        self._has_database = has_database
        self._certificate_expires = certificate_expires

    def collect(self) -> Iterator[Metric]:
        yield _CONNECTIONS.family([((), self._connections())])
        yield _BODY_BYTES.family([((), self._body_bytes())])
        yield _TASKS.family([((), len(asyncio.all_tasks()))])
        yield _DATABASE.family([((), self._has_database())])
        expires = self._certificate_expires()
        yield _CERTIFICATE.family([] if expires is None else [((), expires)])


class _FleetMetrics(Collector):
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        waiting = self._fleet.queues.waiting_by_model
        yield _WAITING.family(((model,), count) for model, count in waiting.items())
        workers = [((seen.address, seen.model), seen) for seen in self._fleet.workers()]
        yield _RUNNING.family((labels, seen.requests) for labels, seen in workers)
        yield _READY.family((labels, seen.ready) for labels, seen in workers)
        yield _DRAINING.family((labels, _is_draining(seen)) for labels, seen in workers)
        yield _STALLED.family((labels, seen.is_stalled) for labels, seen in workers)
        yield _CIRCUIT_OPEN.family((labels, seen.is_avoided) for labels, seen in workers)
        yield _CACHE_HITS.family((labels, seen.cache_hit_rate) for labels, seen in workers)


def _is_draining(worker: WorkerStatus) -> bool:
    return worker.report is not None and worker.report.draining
