"""Limits of retries: attempts, engine failures, and the budget of all requests together."""

from __future__ import annotations

import math

import pytest

from drover.errors import EngineFailed, ProtocolBroken, RetryElsewhere, WorkerDraining, WorkerUnreachable
from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.retry import RetryBudget, RetryPolicy
from tests.fakes.stalling_worker import StallingWorker


class _Listener:
    """Implements frontend.routing.managed_worker.WorkerListener."""

    def on_join(self, worker: ManagedWorker) -> None: ...

    def on_availability(self, worker: ManagedWorker) -> None: ...

    def on_load(self, worker: ManagedWorker) -> None: ...

    def on_capacity(self, worker: ManagedWorker) -> None: ...


@pytest.fixture
async def worker() -> ManagedWorker:
    return ManagedWorker(StallingWorker(), _Listener())


def _attempts(policy: RetryPolicy, worker: ManagedWorker, error: RetryElsewhere) -> int:
    """How many attempts a request has that always fails with `error`."""
    attempts = 1
    while policy.allows_another(worker, error):
        attempts += 1
    return attempts


@pytest.mark.parametrize("error", [WorkerUnreachable("gone"), WorkerDraining("bye")])
async def test_attempts_without_progress_are_limited(worker: ManagedWorker, error: RetryElsewhere) -> None:
    assert _attempts(RetryPolicy(RetryBudget()), worker, error) == 4
    assert _attempts(RetryPolicy(RetryBudget(), max_attempts=7), worker, error) == 7


@pytest.mark.parametrize("error", [EngineFailed("out of memory"), ProtocolBroken("nonsense")])
async def test_engine_failures_have_a_lower_limit(worker: ManagedWorker, error: RetryElsewhere) -> None:
    assert _attempts(RetryPolicy(RetryBudget()), worker, error) == 2
    assert _attempts(RetryPolicy(RetryBudget(), max_engine_failures=3), worker, error) == 3


async def test_progress_resets_the_limits(worker: ManagedWorker) -> None:
    policy, gone = RetryPolicy(RetryBudget()), WorkerUnreachable("gone")
    assert [policy.allows_another(worker, gone) for _ in range(3)] == [True, True, True]
    policy.reset()
    assert policy.failed == {}
    assert _attempts(policy, worker, gone) == 4


async def test_a_lasting_failure_excludes_its_worker_for_ever(worker: ManagedWorker) -> None:
    policy = RetryPolicy(RetryBudget())
    policy.allows_another(worker, WorkerUnreachable("gone"))
    assert policy.failed[worker] < math.inf
    policy.allows_another(worker, WorkerUnreachable("it came back here", is_lasting=True))
    assert policy.failed[worker] == math.inf


async def test_the_budget_limits_retries_after_engine_failures_only(worker: ManagedWorker) -> None:
    budget, failed, gone = RetryBudget(), EngineFailed("out of memory"), WorkerUnreachable("gone")
    assert sum(RetryPolicy(budget).allows_another(worker, failed) for _ in range(100)) == 20
    assert RetryPolicy(budget).allows_another(worker, gone)
    for _ in range(5):
        budget.earn()
    assert [RetryPolicy(budget).allows_another(worker, failed) for _ in range(2)] == [True, False]
