"""The fleet at one time, as the page shows it: made once a second, then reduced for each role."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from drover import __version__
from drover.json_value import Json
from frontend.console.history import Point, Series
from frontend.console.host_list import host_list, loading_models
from frontend.console.incidents import Incident
from frontend.console.recorder import ALL_MODELS, Recorder, state_of
from frontend.routing.fleet import Fleet, WorkerStatus
from frontend.routing.model_queue import WaitingRequest

_LISTED_WAITING = 50
# The newest bucket and the one that it completed.
_NEW_POINTS = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`names`: all names of each model, by its main one, for what a key may see."""

    now: float
    summary: dict[str, Json]
    models: Mapping[str, dict[str, Json]]
    names: Mapping[str, Sequence[str]]
    workers: Sequence[WorkerStatus]
    hosts: list[Json]
    queue: Sequence[WaitingRequest]
    incidents: Sequence[Incident]
    points: Mapping[str, Sequence[Point]]


def snapshot(
    fleet: Fleet, recorder: Recorder, connections: Callable[[], int], draining: bool, now: float
) -> Snapshot:
    """`connections`: open ones; `now`: unix time."""
    workers = sorted(fleet.workers(), key=lambda worker: (worker.model, worker.address))
    waiting = fleet.queues.waiting_by_model
    by_model: dict[str, list[WorkerStatus]] = defaultdict(list)
    for worker in workers:
        if worker.model:
            by_model[worker.model].append(worker)
    loading = Counter(loading_models(fleet.hosts.all))
    for model in (*(model for model, count in waiting.items() if count), *loading):
        by_model.setdefault(model, [])
    series = dict(recorder.series())
    return Snapshot(
        now,
        _summary(workers, series[ALL_MODELS], fleet.queues.waiting, now)
        | {"connections": connections(), "draining": draining, "hosts": len(fleet.hosts.all)},
        {
            model: _model(model, replicas, series.get(model), waiting.get(model, 0), now)
            | {"loading": loading[model]}
            for model, replicas in by_model.items()
        },
        {
            model: sorted({name for each in replicas if each.info for name in each.info.names})
            for model, replicas in by_model.items()
        },
        workers,
        host_list(fleet.hosts.all),
        fleet.queues.first(_LISTED_WAITING),
        list(recorder.incidents),
        {model: each.points(now, _NEW_POINTS) for model, each in series.items()},
    )


def worker_json(worker: WorkerStatus, tokens_per_second: float) -> dict[str, Json]:
    report, info = worker.report, worker.info
    shown: dict[str, Json] = {
        "address": worker.address,
        "model": worker.model,
        "state": state_of(worker),
        "engine": f"{info.engine_kind} {info.engine_version}".strip() if info else "",
        "own": worker.requests,
        "tokens_per_second": tokens_per_second,
    }
    return shown | (_load([worker]) if report else {})


def _summary(workers: Sequence[WorkerStatus], total: Series, waiting: int, now: float) -> dict[str, Json]:
    return {
        "version": __version__,
        "workers": len(workers),
        "ready": sum(worker.ready for worker in workers),
        "queued": waiting,
        "frontends": max((each.report.frontends for each in workers if each.report), default=1) or 1,
        **_load(workers),
        **_figures(total, now),
    }


def _model(
    name: str, replicas: Sequence[WorkerStatus], series: Series | None, waiting: int, now: float
) -> dict[str, Json]:
    info = next((each.info for each in replicas if each.info), None)
    shown: dict[str, Json] = {
        "name": name,
        "workers": len(replicas),
        "ready": sum(worker.ready for worker in replicas),
        "queued": waiting,
        **_load(replicas),
    }
    if info is not None:
        shown |= {
            "parameters": info.parameter_size,
            "quantization": info.quantization,
            "context": info.context_length,
            "others": list(info.names[1:9]),
        }
    return shown | (_figures(series, now) if series else {})


def _load(workers: Sequence[WorkerStatus]) -> dict[str, Json]:
    """The sums of the last reports. A limit of 0 means that a worker does not report it."""
    reports = [worker.report for worker in workers if worker.report is not None]
    return {
        "running": sum(report.running for report in reports),
        "places": sum(report.running_limit for report in reports),
        "waiting": sum(report.waiting for report in reports),
        "kv_used": sum(report.kv_tokens_used for report in reports),
        "kv_total": sum(report.kv_tokens_total for report in reports),
        "hit_rate": _mean([report.cache_hit_rate for report in reports]),
    }


def _figures(series: Series, now: float) -> dict[str, Json]:
    window = series.window
    return {
        "tokens_per_second": series.tokens_per_second(now),
        "requests_per_minute": series.requests_per_minute(now),
        "requests": window.requests,
        "errors": window.errors,
        "moves": window.moves,
        "hit_rate": window.hit_rate,
        "ttft_p50": window.ttft.quantile(0.5),
        "ttft_p99": window.ttft.quantile(0.99),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
