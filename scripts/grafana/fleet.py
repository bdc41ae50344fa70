"""What runs: workers, failover, frontends."""

from __future__ import annotations

from scripts.grafana.base import Panel, Query, Row, average, by_worker, sum_of, sum_of_rate

WORKERS = Row(
    "Workers",
    (
        Panel(
            "Ready workers",
            "short",
            "That take requests, as the frontend sees it that sees the most.",
            (
                Query(
                    f"sum by (model) ({by_worker('drover_frontend_worker_ready')})",
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
                    sum_of("drover_worker_running_requests", "instance, model")
                    + " / "
                    + sum_of("drover_worker_running_limit", "instance, model"),
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
                    sum_of("drover_worker_kv_tokens_used", "instance, model")
                    + " / "
                    + sum_of("drover_worker_kv_tokens", "instance, model"),
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
                    sum_of_rate("drover_worker_cached_tokens_total", "model")
                    + " / ("
                    + sum_of_rate("drover_worker_cached_tokens_total", "model")
                    + " + "
                    + sum_of_rate("drover_worker_prefill_tokens_total", "model")
                    + ")",
                    "{{model}} measured",
                ),
                Query(average("drover_worker_cache_hit_ratio"), "{{model}} as workers report"),
                Query(average("drover_frontend_worker_cache_hit_ratio"), "{{model}} as frontends know"),
            ),
        ),
        Panel(
            "Generated tokens a second",
            "short",
            "Of each worker.",
            (
                Query(
                    sum_of_rate("drover_worker_decode_tokens_total", "instance, model"),
                    "{{instance}} {{model}}",
                ),
            ),
        ),
        Panel(
            "Not in service",
            "short",
            "Workers that drain, are stalled, have an open circuit breaker, or have unloaded their model.",
            (
                Query(f"{by_worker('drover_frontend_worker_draining')} > 0", "{{worker}} drains"),
                Query(f"{sum_of('drover_worker_draining', 'instance, model')} > 0", "{{instance}} drains"),
                Query(f"{by_worker('drover_frontend_worker_stalled')} > 0", "{{worker}} stalled"),
                Query(f"{by_worker('drover_frontend_worker_circuit_open')} > 0", "{{worker}} circuit open"),
                Query(
                    'count by (model) (drover_worker_loaded{model=~"$model"} == 0)', "{{model}} not loaded"
                ),
            ),
        ),
    ),
)


FAILURES = Row(
    "Failover",
    (
        Panel(
            "Retries and failovers",
            "reqps",
            "Attempts on another worker before the first token, and responses that resumed after it.",
            (
                Query(sum_of_rate("drover_frontend_retries_total", "model"), "{{model}} retries"),
                Query(sum_of_rate("drover_frontend_failovers_total", "model"), "{{model}} failovers"),
            ),
        ),
        Panel(
            "Could not resume",
            "reqps",
            "Responses that were lost with their worker, by reason.",
            (Query(sum_of_rate("drover_frontend_not_resumable_total", "reason", ""), "{{reason}}"),),
        ),
        Panel(
            "Requests sent to workers",
            "short",
            "Of all frontends, for each worker.",
            (Query(sum_of("drover_frontend_running_requests", "worker, model"), "{{worker}} {{model}}"),),
        ),
    ),
)


FRONTENDS = Row(
    "Frontends",
    (
        Panel(
            "Event loop delay",
            "s",
            "p99. Above 0.1 s every stream of that frontend is late: add frontends (docs/scale.md).",
            (
                Query(
                    "histogram_quantile(0.99, "
                    + sum_of_rate("drover_frontend_event_loop_delay_seconds_bucket", "le, instance", "")
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
            (Query(sum_of("drover_worker_frontends", "instance, model"), "{{instance}} {{model}}"),),
        ),
    ),
)
