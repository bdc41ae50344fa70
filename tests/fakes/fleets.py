"""Fleets of fake workers at fixed addresses, with round robin."""

from __future__ import annotations

from collections.abc import Mapping

from drover.errors import DroverError
from frontend.routing.discovery.static import Static
from frontend.routing.fleet import Fleet
from frontend.routing.model_queue import QueueTable, QueueWait
from frontend.routing.policies.round_robin import RoundRobin
from frontend.routing.resume_strategy import NotResumable, ResumeStrategy
from frontend.routing.served_model import ServedModel
from tests.fakes.stalling_worker import StallingWorker


def fleet_of(
    *workers: StallingWorker, wait_seconds: float = 1.0, max_waiting: int = 512, stall_seconds: float = 0.0
) -> Fleet:
    by_address = {worker.address: worker for worker in workers}
    return Fleet(
        [Static(list(by_address))],
        by_address.__getitem__,
        RoundRobin(),
        QueueTable(max_waiting, wait_seconds),
        stall_seconds,
    )


def picked(fleet: Fleet, model: ServedModel) -> str:
    """Where a request that is no generation would go."""
    return fleet._scheduler.pick(model).address


class ObservedFailovers:
    """Implements frontend.routing.failover.FailoverObserver."""

    def __init__(self) -> None:
        self.waits: list[QueueWait] = []
        self.addresses: list[str] = []
        self.retries: list[DroverError] = []
        self.failovers: list[ResumeStrategy] = []
        self.not_resumable_because: list[NotResumable] = []
        self.cut_off_after: list[tuple[int, int, int]] = []

    def queued(self) -> None: ...

    def waited(self, wait: QueueWait) -> None:
        self.waits.append(wait)

    def not_queued(self, error: DroverError) -> None: ...

    def sent_to(self, address: str) -> Mapping[str, str]:
        self.addresses.append(address)
        return {}

    def ended(self, error: DroverError | None) -> None: ...

    def retried(self, error: DroverError) -> None:
        self.retries.append(error)

    def failed_over(self, strategy: ResumeStrategy, error: DroverError) -> None:
        self.failovers.append(strategy)

    def not_resumable(self, reason: NotResumable, error: DroverError) -> None:
        self.not_resumable_because.append(reason)

    def cut_off(self, prompt_tokens: int, cached_tokens: int, generated_tokens: int) -> None:
        self.cut_off_after.append((prompt_tokens, cached_tokens, generated_tokens))
