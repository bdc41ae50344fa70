"""What the Grafana dashboard shows: rows of panels, each with its queries.

A query's `$model` is the dashboard's choice of models. Frontends and workers each report their own numbers,
so a query sums over them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """In PromQL. `legend`: the name of each line, with `{{label}}`."""

    promql: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit`: one of Grafana's; `help`: what it shows and what to do about it."""

    title: str
    unit: str
    help: str
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def _sum_of_rate(metric: str, by: str, matchers: str = 'model=~"$model"') -> str:
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def _sum(metric: str, by: str = "model") -> str:
    return f'sum by ({by}) ({metric}{{model=~"$model"}})'


def _average(metric: str) -> str:
    return f'avg by (model) ({metric}{{model=~"$model"}})'


def _quantiles(metric: str) -> tuple[Query, ...]:
    buckets = _sum_of_rate(f"{metric}_bucket", "le, model")
    return tuple(
        Query(f"histogram_quantile({share}, {buckets})", f"{{{{model}}}} p{round(share * 100)}")
        for share in (0.5, 0.95, 0.99)
    )


def _by_worker(metric: str) -> str:
    """Of what each frontend says of a worker, the largest."""
    return f'max by (worker, model) ({metric}{{model=~"$model"}})'


_REQUESTS = Row(
    "Requests",
    (
        Panel(
            "Requests",
            "reqps",
            "Finished HTTP requests by status. 0: the client left before a response began.",
            (Query(_sum_of_rate("drover_frontend_requests_total", "status"), "{{status}}"),),
        ),
        Panel(
            "Requests by route",
            "reqps",
            "Which interfaces clients use.",
            (Query(_sum_of_rate("drover_frontend_requests_total", "route"), "{{route}}"),),
        ),
        Panel(
            "Errors",
            "reqps",
            "By the names in docs/errors.md, which says what to do about each.",
            (Query(_sum_of_rate("drover_frontend_errors_total", "error"), "{{error}}"),),
        ),
        Panel(
            "Ended early",
            "reqps",
            "Responses that ended before their end, by cause.",
            (Query(_sum_of_rate("drover_frontend_aborts_total", "cause", ""), "{{cause}}"),),
        ),
        Panel(
            "Truncated prompts",
            "reqps",
            "Prompts that did not fit into the context.",
            (Query(_sum_of_rate("drover_frontend_truncations_total", "model"), "{{model}}"),),
        ),
    ),
)

_LATENCY = Row(
    "Latency and throughput",
    (
        Panel(
            "Time to first token",
            "s",
            "From a request's arrival, with its wait in the queue.",
            _quantiles("drover_frontend_ttft_seconds"),
        ),
        Panel(
            "Time between tokens",
            "s",
            "Mean of each response. It grows with the engine's batch.",
            _quantiles("drover_frontend_inter_token_seconds"),
        ),
        Panel(
            "Time in queues",
            "s",
            "In the frontend and in the worker together.",
            _quantiles("drover_frontend_queue_seconds"),
        ),
        Panel(
            "Tokens a second",
            "short",
            "Tokens of prompts, those of them that the prefix cache had, and generated ones.",
            (Query(_sum_of_rate("drover_frontend_tokens_total", "model, kind"), "{{model}} {{kind}}"),),
        ),
    ),
)

_QUEUE = Row(
    "Queue",
    (
        Panel(
            "Waiting requests",
            "short",
            "In frontends and in workers. Lasting: add workers (docs/scale.md).",
            (
                Query(
                    'sum by (model) (drover_frontend_waiting_requests{model=~"$model"})',
                    "{{model}} frontends",
                ),
                Query(
                    'sum by (model) (drover_worker_waiting_requests{model=~"$model"})', "{{model}} workers"
                ),
            ),
        ),
        Panel(
            "Refused for want of room",
            "reqps",
            "Requests that found the queue full: the 503 that asks clients to try again.",
            (
                Query(
                    _sum_of_rate(
                        "drover_frontend_errors_total", "model", 'error="QueueFull", model=~"$model"'
                    ),
                    "{{model}}",
                ),
            ),
        ),
        Panel(
            "Refused by limits of keys",
            "reqps",
            "The 429 of a key that reached one of its limits, by limit (docs/limits.md).",
            (Query(_sum_of_rate("drover_frontend_refused_total", "limit", ""), "{{limit}}"),),
        ),
        Panel(
            "Waiting prompt tokens",
            "short",
            "What waits in workers, in tokens.",
            (Query(_sum("drover_worker_waiting_prompt_tokens"), "{{model}}"),),
        ),
    ),
)

_WORKERS = Row(
    "Workers",
    (
        Panel(
            "Ready workers",
            "short",
            "That take requests, as the frontend sees it that sees the most.",
            (
                Query(
                    f"sum by (model) ({_by_worker('drover_frontend_worker_ready')})",
                    "{{model}}",
                ),
            ),
        ),
        Panel(
            "Load",
            "percentunit",
            "Requests in the engine's batch, of the most that it takes.",
            (
                Query(
                    _sum("drover_worker_running_requests", "instance, model")
                    + " / "
                    + _sum("drover_worker_running_limit", "instance, model"),
                    "{{instance}} {{model}}",
                ),
            ),
        ),
        Panel(
            "KV cache in use",
            "percentunit",
            "Near 1 requests wait for room, however few they are.",
            (
                Query(
                    _sum("drover_worker_kv_tokens_used", "instance, model")
                    + " / "
                    + _sum("drover_worker_kv_tokens", "instance, model"),
                    "{{instance}} {{model}}",
                ),
            ),
        ),
        Panel(
            "Prefix cache hits",
            "percentunit",
            "Share of prompt tokens that were in the cache.",
            (
                Query(
                    _sum_of_rate("drover_worker_cached_tokens_total", "model")
                    + " / ("
                    + _sum_of_rate("drover_worker_cached_tokens_total", "model")
                    + " + "
                    + _sum_of_rate("drover_worker_prefill_tokens_total", "model")
                    + ")",
                    "{{model}} measured",
                ),
                Query(_average("drover_worker_cache_hit_ratio"), "{{model}} as workers report"),
                Query(_average("drover_frontend_worker_cache_hit_ratio"), "{{model}} as frontends know"),
            ),
        ),
        Panel(
            "Generated tokens a second",
            "short",
            "Of each worker.",
            (
                Query(
                    _sum_of_rate("drover_worker_decode_tokens_total", "instance, model"),
                    "{{instance}} {{model}}",
                ),
            ),
        ),
        Panel(
            "Not in service",
            "short",
            "Workers that drain, are stalled, have an open circuit breaker, or have unloaded their model.",
            (
                Query(f"{_by_worker('drover_frontend_worker_draining')} > 0", "{{worker}} drains"),
                Query(f"{_sum('drover_worker_draining', 'instance, model')} > 0", "{{instance}} drains"),
                Query(f"{_by_worker('drover_frontend_worker_stalled')} > 0", "{{worker}} stalled"),
                Query(f"{_by_worker('drover_frontend_worker_circuit_open')} > 0", "{{worker}} circuit open"),
                Query(
                    'count by (model) (drover_worker_loaded{model=~"$model"} == 0)', "{{model}} not loaded"
                ),
            ),
        ),
    ),
)

_FAILURES = Row(
    "Failover",
    (
        Panel(
            "Retries and failovers",
            "reqps",
            "Attempts on another worker before the first token, and responses that resumed after it.",
            (
                Query(_sum_of_rate("drover_frontend_retries_total", "model"), "{{model}} retries"),
                Query(_sum_of_rate("drover_frontend_failovers_total", "model"), "{{model}} failovers"),
            ),
        ),
        Panel(
            "Could not resume",
            "reqps",
            "Responses that were lost with their worker, by reason.",
            (Query(_sum_of_rate("drover_frontend_not_resumable_total", "reason", ""), "{{reason}}"),),
        ),
        Panel(
            "Requests sent to workers",
            "short",
            "Of all frontends, for each worker.",
            (Query(_sum("drover_frontend_running_requests", "worker, model"), "{{worker}} {{model}}"),),
        ),
    ),
)

_KEYS = Row(
    "Keys",
    (
        Panel(
            "Requests by key",
            "reqps",
            "Finished HTTP requests of each key, by its name. Empty without keys (docs/usage.md).",
            (Query(_sum_of_rate("drover_frontend_key_requests_total", "key", ""), "{{key}}"),),
        ),
        Panel(
            "Tokens a second by key",
            "short",
            "Of prompts, from the prefix cache, and generated. Sums per day are at /api/usage.",
            (Query(_sum_of_rate("drover_frontend_key_tokens_total", "key, kind", ""), "{{key}} {{kind}}"),),
        ),
    ),
)

_ROUTER = Row(
    "Smart router",
    (
        Panel(
            "Decisions",
            "reqps",
            "Requests of virtual models, by side and by what decided.",
            (
                Query(
                    _sum_of_rate("drover_frontend_route_decisions_total", "route, reason", ""),
                    "{{route}}: {{reason}}",
                ),
            ),
        ),
        Panel(
            "Fallbacks",
            "reqps",
            "Requests that went to the other side because this one failed.",
            (Query(_sum_of_rate("drover_frontend_route_fallbacks_total", "route", ""), "{{route}}"),),
        ),
        Panel(
            "Time of the judge",
            "s",
            "What it adds to a request.",
            _quantiles("drover_frontend_judge_seconds"),
        ),
    ),
)

_FRONTENDS = Row(
    "Frontends",
    (
        Panel(
            "Event loop delay",
            "s",
            "p99. Above 0.1 s every stream of that frontend is late: add frontends (docs/scale.md).",
            (
                Query(
                    "histogram_quantile(0.99, "
                    + _sum_of_rate("drover_frontend_event_loop_delay_seconds_bucket", "le, instance", "")
                    + ")",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Connections and tasks",
            "short",
            "They fall again when load does.",
            (
                Query("sum by (instance) (drover_frontend_connections)", "{{instance}} connections"),
                Query("sum by (instance) (drover_frontend_tasks)", "{{instance}} tasks"),
            ),
        ),
        Panel(
            "Request bodies in memory",
            "bytes",
            "Beyond 64 KiB each.",
            (Query("sum by (instance) (drover_frontend_body_bytes)", "{{instance}}"),),
        ),
        Panel(
            "Database answers",
            "short",
            "1: the last use succeeded. 0: presets, keys and stored responses cannot be changed.",
            (Query("min by (instance) (drover_frontend_database_available)", "{{instance}}"),),
        ),
        Panel(
            "Certificate expires in",
            "s",
            "The first of each frontend's. Files are read again when they change (docs/tls.md).",
            (
                Query(
                    "min by (instance) (drover_frontend_certificate_expiry_timestamp_seconds) - time()",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Connected frontends",
            "short",
            "As workers see them: fewer than there are means that some cannot reach it.",
            (Query(_sum("drover_worker_frontends", "instance, model"), "{{instance}} {{model}}"),),
        ),
    ),
)

ROWS = (_REQUESTS, _LATENCY, _QUEUE, _WORKERS, _FAILURES, _FRONTENDS, _KEYS, _ROUTER)
