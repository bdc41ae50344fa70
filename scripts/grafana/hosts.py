"""What worker hosts load, evict and pull."""

from __future__ import annotations

from scripts.grafana.base import Panel, Query, Row, sum_of_rate


def _by_host(metric: str) -> str:
    return f"sum by (instance) (drover_host_{metric})"


def _by_gpu(metric: str) -> str:
    return f"sum by (instance, gpu) (drover_host_{metric})"


def _rate(metric: str, by: str = "instance") -> str:
    return sum_of_rate(f"drover_host_{metric}", by, "")


HOSTS = Row(
    "Worker hosts",
    (
        Panel(
            "Models on hosts",
            "short",
            "In memory, in the store, waited for. One that is waited for long has no room: docs/hosts.md.",
            (
                Query(_by_host("loaded_models"), "{{instance}} in memory"),
                Query(_by_host("waiting_models"), "{{instance}} waited for"),
                Query(_by_host("models"), "{{instance}} in the store"),
            ),
        ),
        Panel(
            "Memory of models",
            "percentunit",
            "Of the host's budget.",
            (
                Query(
                    f"{_by_host('memory_bytes')} / {_by_host('memory_budget_bytes')}",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Memory of GPUs",
            "percentunit",
            "What models take of each GPU's budget, which is less where other programs use the GPU.",
            (
                Query(
                    f"{_by_gpu('gpu_memory_bytes')} / {_by_gpu('gpu_memory_budget_bytes')}",
                    "{{instance}} {{gpu}}",
                ),
            ),
        ),
        Panel(
            "Loads and evictions",
            "ops",
            "Many evictions: the models that are asked for do not fit together.",
            (
                Query(_rate("load_seconds_count"), "{{instance}} loads"),
                Query(_rate("evictions_total"), "{{instance}} evictions"),
                Query(_rate("worker_failures_total", "instance, phase"), "{{instance}} failed in {{phase}}"),
            ),
        ),
        Panel(
            "Load time",
            "s",
            "Until a model's worker is ready.",
            (
                Query(
                    f"histogram_quantile(0.95, {_rate('load_seconds_bucket', 'le, instance')})",
                    "{{instance}} p95",
                ),
            ),
        ),
        Panel(
            "Files in stores",
            "bytes",
            "With unfinished ones.",
            (Query(_by_host("disk_bytes"), "{{instance}}"),),
        ),
        Panel(
            "Pulls",
            "Bps",
            "Downloaded bytes, and pulls that ended.",
            (
                Query(_rate("pulled_bytes_total"), "{{instance}}"),
                Query(_rate("pulls_total", "instance, result"), "{{instance}} pulls {{result}}"),
            ),
        ),
    ),
)
