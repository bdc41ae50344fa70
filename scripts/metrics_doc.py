"""The metrics tables in docs/metrics.md, from both tiers' descriptions. `--check` only compares."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from drover.metrics import MetricSpec
from engine_worker import metrics as worker
from engine_worker.host import metrics as host
from frontend.observability import metrics as frontend
from scripts.generated_page import GeneratedPage, table


def metrics_table(metrics: Iterable[MetricSpec]) -> str:
    return table(
        ("metric", "type", "labels", "meaning"),
        (
            (
                f"`{metric.exposed_name}`",
                metric.kind,
                ", ".join(f"`{label}`" for label in metric.labels),
                metric.meaning,
            )
            for metric in metrics
        ),
    )


PAGE = GeneratedPage(
    "metrics.md",
    {
        "metrics: frontend": metrics_table(frontend.METRICS),
        "metrics: worker": metrics_table(worker.METRICS),
        "metrics: host": metrics_table(host.METRICS),
    },
    task="metrics-doc",
)


if __name__ == "__main__":
    sys.exit(PAGE.main(sys.argv[1:]))
