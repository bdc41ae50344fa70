"""SGLang's own metrics: those of its child processes and those of its tokenizer manager, in this process.

Each child writes its samples into files (PROMETHEUS_MULTIPROC_DIR). This process has loaded prometheus_client
before the folder was chosen, so what SGLang counts here is in the library's own registry. SGLang counts in
any case: Drover starts it with --enable-metrics, for the times of a request's phases.
"""

from __future__ import annotations

import os

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from engine_worker.engines.sglang.upstream.environment import METRICS_FOLDER


def metrics_text() -> str:
    """In Prometheus' text format; a family may be there twice. Blocking: it reads files."""
    children = CollectorRegistry()
    MultiProcessCollector(children, os.environ[METRICS_FOLDER])  # type: ignore[no-untyped-call]  # its __init__ has no types
    return (generate_latest(children) + generate_latest(REGISTRY)).decode()
