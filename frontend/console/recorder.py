"""Records what the plots and the list of moves and errors show: once for each finished request, and once a
second for what the workers report. Nothing is recorded per token; its size is bounded.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from drover.errors import NotAuthenticated
from frontend.console.history import Series
from frontend.console.incidents import Incidents
from frontend.console.token_counters import TokenCounters, TokenCounts
from frontend.observability.request_record import RequestRecord
from frontend.routing.backends.ollama.address import OLLAMA
from frontend.routing.fleet import WorkerStatus

ALL_MODELS = ""
_MAX_MODELS = 64
# Requests for the page itself are none of the fleet's.
_OWN_ROUTES = "/console"
CHAT_ROUTE = "/console/chat"


class Recorder:
    """`now`: unix time."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._series: dict[str, Series] = {ALL_MODELS: Series()}
        self._counters = TokenCounters()
        self._states: dict[str, tuple[str, str]] = {}
        """The state and the model of each worker at the last sample."""
        self.incidents = Incidents()

    def series(self) -> Iterator[tuple[str, Series]]:
        """Those of all models, and the total under ALL_MODELS."""
        return iter(self._series.items())

    @property
    def rates(self) -> Mapping[str, float]:
        """Generated tokens a second of each worker."""
        return self._counters.rates

    def count(self, record: RequestRecord, route: str) -> None:
        """Record a finished request. `route`: its path template."""
        if route.startswith(_OWN_ROUTES) and route != CHAT_ROUTE:
            return
        now = self._now()
        message = record.fields.get("error_message")
        if message is not None:
            # Without a valid key a client has any name that it likes: else guesses would push out the others.
            client = "" if record.error == NotAuthenticated.__name__ else record.client
            self.incidents.add(
                now, "error", str(message), record.served, _worker(record), client, record.status
            )
        self._count_moves(record, now)
        if not record.served:
            return
        failed, moves = message is not None, record.failovers + record.retries
        for series in self._of_model(record.served):
            series.add_request(now, failed, moves, record.ttft_ns / 1e9)
        if record.done is not None and _worker(record).startswith(OLLAMA):
            # Such a host reports no tokens itself.
            done = record.done
            counts = TokenCounts(done.prompt_tokens, done.cached_tokens, done.completion_tokens)
            self._add_tokens(record.served, counts, now)

    def sample(self, workers: Sequence[WorkerStatus], waiting: Mapping[str, int]) -> None:
        """Record what the workers report now, and how many requests wait for each model in this frontend."""
        now = self._now()
        for worker, counts in self._counters.differences(workers):
            self._add_tokens(worker.model, counts, now)
        running, queued = Counter[str](), Counter(waiting)
        for worker in workers:
            report = worker.report
            running[worker.model] += report.running if report else 0
            queued[worker.model] += report.waiting if report else 0
        self._forget_idle(running.keys() | queued.keys())
        for model in running.keys() | queued.keys():
            self._ensure(model)
        for model, series in self._series.items():
            if model == ALL_MODELS:
                series.raise_gauges(now, running.total(), queued.total())
            else:
                series.raise_gauges(now, running[model], queued[model])
        self._note_changes(workers, now)

    def _of_model(self, model: str) -> Iterator[Series]:
        """The total, and the model's own unless there are too many models."""
        yield self._series[ALL_MODELS]
        if (series := self._ensure(model)) is not None:
            yield series

    def _ensure(self, model: str) -> Series | None:
        if model == ALL_MODELS:
            return None
        if model not in self._series and len(self._series) <= _MAX_MODELS:
            self._series[model] = Series()
        return self._series.get(model)

    def _forget_idle(self, known: Set[str]) -> None:
        """Drop models that have no worker any more and nothing in the last 15 minutes."""
        for model, series in list(self._series.items()):
            window = series.window
            if model != ALL_MODELS and model not in known and not (window.requests or window.prompt_tokens):
                del self._series[model]

    def _add_tokens(self, model: str, counts: TokenCounts, now: float) -> None:
        for series in self._of_model(model):
            series.add_tokens(now, counts.prompt, counts.cached, counts.generated)

    def _count_moves(self, record: RequestRecord, now: float) -> None:
        text = str(record.fields.get("worker_error", ""))
        for kind, times in (("failover", record.failovers), ("retry", record.retries)):
            if times:
                self.incidents.add(now, kind, text, record.served, _worker(record), record.client)

    def _note_changes(self, workers: Sequence[WorkerStatus], now: float) -> None:
        """Note workers that came, went or changed their state since the last sample."""
        states = {worker.address: (state_of(worker), worker.model) for worker in workers}
        for address, (state, model) in states.items():
            before, _ = self._states.get(address, ("", ""))
            if state not in (before, "unreachable"):
                self.incidents.add(now, "worker", f"worker is {state}", model, address)
        for address in self._states.keys() - states.keys():
            self.incidents.add(now, "worker", "worker was removed", self._states[address][1], address)
        self._states = states


def state_of(worker: WorkerStatus) -> str:
    """One word for whether a worker takes requests, or why not."""
    if worker.report is None:
        return "lost" if worker.info else "unreachable"
    if worker.is_stalled:
        return "stalled"
    if worker.report.draining:
        return "draining"
    return "avoided" if worker.is_avoided else "ready"


def _worker(record: RequestRecord) -> str:
    return str(record.fields.get("worker", ""))
