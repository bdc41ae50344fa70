"""What clients see: requests, latency, the queue, keys, the smart router."""

from __future__ import annotations

from scripts.grafana.base import Panel, Query, Row, quantiles, sum_of, sum_of_rate

REQUESTS = Row(
    "Requests",
    (
        Panel(
            "Requests",
            "reqps",
            "Finished HTTP requests by status. 0: the client left before a response began.",
            (Query(sum_of_rate("drover_frontend_requests_total", "status"), "{{status}}"),),
        ),
        Panel(
            "Requests by route",
            "reqps",
            "Which interfaces clients use.",
            (Query(sum_of_rate("drover_frontend_requests_total", "route"), "{{route}}"),),
        ),
        Panel(
            "Errors",
            "reqps",
            "By the names in docs/errors.md, which says what to do about each.",
            (Query(sum_of_rate("drover_frontend_errors_total", "error"), "{{error}}"),),
        ),
        Panel(
            "Ended early",
            "reqps",
            "Responses that ended before their end, by cause.",
            (Query(sum_of_rate("drover_frontend_aborts_total", "cause", ""), "{{cause}}"),),
        ),
        Panel(
            "Truncated prompts",
            "reqps",
            "Prompts that did not fit into the context.",
            (Query(sum_of_rate("drover_frontend_truncations_total", "model"), "{{model}}"),),
        ),
    ),
)


LATENCY = Row(
    "Latency and throughput",
    (
        Panel(
            "Time to first token",
            "s",
            "From a request's arrival, with its wait in the queue.",
            quantiles("drover_frontend_ttft_seconds"),
        ),
        Panel(
            "Time between tokens",
            "s",
            "Mean of each response. It grows with the engine's batch.",
            quantiles("drover_frontend_inter_token_seconds"),
        ),
        Panel(
            "Time in queues",
            "s",
            "In the frontend and in the worker together.",
            quantiles("drover_frontend_queue_seconds"),
        ),
        Panel(
            "Tokens a second",
            "short",
            "Tokens of prompts, those of them that the prefix cache had, and generated ones.",
            (Query(sum_of_rate("drover_frontend_tokens_total", "model, kind"), "{{model}} {{kind}}"),),
        ),
    ),
)


QUEUE = Row(
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
                    sum_of_rate(
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
            (Query(sum_of_rate("drover_frontend_refused_total", "limit", ""), "{{limit}}"),),
        ),
        Panel(
            "Waiting prompt tokens",
            "short",
            "What waits in workers, in tokens.",
            (Query(sum_of("drover_worker_waiting_prompt_tokens"), "{{model}}"),),
        ),
    ),
)


KEYS = Row(
    "Keys",
    (
        Panel(
            "Requests by key",
            "reqps",
            "Finished HTTP requests of each key, by its name. Empty without keys (docs/usage.md).",
            (Query(sum_of_rate("drover_frontend_key_requests_total", "key", ""), "{{key}}"),),
        ),
        Panel(
            "Tokens a second by key",
            "short",
            "Of prompts, from the prefix cache, and generated. Sums per day are at /api/usage.",
            (Query(sum_of_rate("drover_frontend_key_tokens_total", "key, kind", ""), "{{key}} {{kind}}"),),
        ),
    ),
)


ROUTER = Row(
    "Smart router",
    (
        Panel(
            "Decisions",
            "reqps",
            "Requests of virtual models, by side and by what decided.",
            (
                Query(
                    sum_of_rate("drover_frontend_route_decisions_total", "route, reason", ""),
                    "{{route}}: {{reason}}",
                ),
            ),
        ),
        Panel(
            "Fallbacks",
            "reqps",
            "Requests that went to the other side because this one failed.",
            (Query(sum_of_rate("drover_frontend_route_fallbacks_total", "route", ""), "{{route}}"),),
        ),
        Panel(
            "Time of the judge",
            "s",
            "What it adds to a request.",
            quantiles("drover_frontend_judge_seconds"),
        ),
    ),
)
