"""Fleet: models by name, selection of replicas, load and unload, calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from drover.errors import EngineFailed, NoWorkerReady, WorkerUnreachable
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import Worker
from frontend.routing.backends.delivery import events_of
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import CapabilityCheck, Fleet, can_embed, can_generate
from frontend.routing.served_model import ServedModel
from tests.fakes.fleets import ObservedFailovers, fleet_of, picked
from tests.fakes.stalling_worker import StallingWorker, done, started
from tests.support.waiting import until

_DEADLINE_SECONDS = 30.0


def _worker(address: str, *names: str, digest: str = "d", modified: int = 1) -> StallingWorker:
    return StallingWorker(address, described=pb.Model(names=names, digest=digest, modified_unix_ns=modified))


@asynccontextmanager
async def _fleet(*workers: StallingWorker) -> AsyncIterator[Fleet]:
    fleet = fleet_of(*workers)
    await fleet.start()
    try:
        capable = [worker for worker in workers if worker.refusal is None]
        expected = {name.lower() for worker in capable for name in worker.described.names}
        await until(lambda: len(fleet.served()) >= len(expected), _DEADLINE_SECONDS, "all workers join")
        yield fleet
    finally:
        await fleet.stop()


def _name(text: str) -> ModelName:
    name = ModelName.parse(text)
    assert name is not None
    return name


def _found(fleet: Fleet, text: str) -> ServedModel:
    model = fleet.find(_name(text))
    assert model is not None
    return model


async def _both_ready(fleet: Fleet, model: ServedModel) -> None:
    await until(
        lambda: len({picked(fleet, model) for _ in range(2)}) == 2, _DEADLINE_SECONDS, "both are ready"
    )


async def test_a_model_is_found_in_any_letter_case_and_has_its_own_spelling() -> None:
    async with _fleet(_worker("w:1", "Org/M:q4")) as fleet:
        assert _found(fleet, "org/m:Q4").name.short == "Org/M:q4"
        assert fleet.find(_name("other")) is None


async def test_the_newest_model_is_listed_first_and_replicas_once() -> None:
    old, new = _worker("w:1", "old", modified=1), _worker("w:2", "new", "alias", modified=2)
    async with _fleet(old, new, _worker("w:3", "NEW", modified=2)) as fleet:
        assert [model.name.model.lower() for model in fleet.served()] == ["new", "alias", "old"]


async def test_replicas_are_selected_in_turn() -> None:
    async with _fleet(_worker("w:1", "m"), _worker("w:2", "m")) as fleet:
        model = _found(fleet, "m")
        await _both_ready(fleet, model)

        addresses = [picked(fleet, model) for _ in range(6)]

        assert addresses[0::2] == addresses[:1] * 3
        assert addresses[1::2] == addresses[1:2] * 3
        assert addresses[0] != addresses[1]


async def test_only_workers_with_the_same_files_are_replicas() -> None:
    async with _fleet(_worker("w:1", "m", digest="a"), _worker("w:2", "n", digest="b")) as fleet:
        assert {picked(fleet, _found(fleet, "n")) for _ in range(4)} == {"w:2"}


async def test_a_draining_worker_is_not_selected() -> None:
    one, two = _worker("w:1", "m"), _worker("w:2", "m")
    async with _fleet(one, two) as fleet:
        model = _found(fleet, "m")
        await _both_ready(fleet, model)
        one.report = pb.LoadReport(draining=True)

        await until(
            lambda: {picked(fleet, model) for _ in range(2)} == {"w:2"}, _DEADLINE_SECONDS, "it leaves"
        )


async def test_a_lost_worker_comes_back() -> None:
    worker = _worker("w:1", "m")
    async with _fleet(worker) as fleet:
        model = _found(fleet, "m")
        worker.refusal = WorkerUnreachable("gone")
        await until(lambda: not fleet.has_ready_worker, _DEADLINE_SECONDS, "it is lost")
        assert fleet.served() == []
        assert _found(fleet, "m").name == model.name
        with pytest.raises(NoWorkerReady, match="'m:latest'"):
            picked(fleet, model)

        worker.refusal = None

        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "it is back")
        assert picked(fleet, model) == "w:1"


async def test_before_any_worker_has_answered_no_model_is_unknown() -> None:
    worker = _worker("w:1", "m")
    worker.refusal = WorkerUnreachable("gone")
    async with _fleet(worker) as fleet:
        with pytest.raises(NoWorkerReady):
            fleet.find(_name("m"))


async def test_of_two_models_with_one_name_the_capable_one_is_found() -> None:
    generator, embedder = _worker("w:1", "m", digest="a"), _worker("w:2", "m", digest="b")
    generator.described.capabilities.completion = True
    embedder.described.capabilities.embedding = True
    async with _fleet(generator, embedder) as fleet:
        await until(
            lambda: {_picked(fleet, can_generate), _picked(fleet, can_embed)} == {"w:1", "w:2"},
            _DEADLINE_SECONDS,
            "both join",
        )

        assert _picked(fleet, can_generate) == "w:1"
        assert _picked(fleet, can_embed) == "w:2"


async def test_of_two_models_with_one_name_the_ready_one_is_found() -> None:
    """As in a rolling update: the old files' worker has left, and the new one's is ready."""
    old, new = _worker("w:1", "m", digest="a"), _worker("w:2", "m", digest="b")
    async with _fleet(old, new) as fleet:
        old.refusal = WorkerUnreachable("gone")
        await until(lambda: _found(fleet, "m").info.digest == "b", _DEADLINE_SECONDS, "the old one is lost")
        assert picked(fleet, _found(fleet, "m")) == "w:2"


def _picked(fleet: Fleet, capable: CapabilityCheck) -> str:
    model = fleet.find(_name("m"), capable)
    assert model is not None
    return picked(fleet, model)


async def test_each_attempt_has_a_new_id_of_fixed_length() -> None:
    worker = _worker("w:1", "m")
    async with _fleet(worker) as fleet:
        worker.steps = (started(), done())
        ids = set()
        for _ in range(10):
            request = pb.GenerateRequest(request_id="from elsewhere")
            async for _ in events_of(
                fleet.submit(_found(fleet, "m"), request, Ticket(), ObservedFailovers())
            ):
                pass
            ids.add(request.request_id)

    assert len(ids) == 10
    assert {len(request_id) for request_id in ids} == {32}
    assert worker.closed


async def test_every_replica_loads_and_unloads() -> None:
    one, two, other = _worker("w:1", "m"), _worker("w:2", "m"), _worker("w:3", "n", digest="b")
    async with _fleet(one, two, other) as fleet:
        model = _found(fleet, "m")
        await _both_ready(fleet, model)

        await fleet.load(model, pb.LoadRequest(keep_alive_ns=5))
        await fleet.unload(model)

    assert [load.keep_alive_ns for load in (*one.loads, *two.loads)] == [5, 5]
    assert (one.unloads, two.unloads) == (1, 1)
    assert (other.loads, other.unloads) == ([], 0)


async def test_a_loaded_model_is_listed_before_the_next_report() -> None:
    worker = _worker("w:1", "m")
    worker.report = pb.LoadReport(loaded=False)
    worker.loaded = pb.LoadResponse(expires_unix_ns=9)
    async with _fleet(worker) as fleet:
        assert fleet.loaded() == []

        await fleet.load(_found(fleet, "m"), pb.LoadRequest())

        assert [loaded.expires_unix_ns for loaded in fleet.loaded()] == [9]


async def test_a_load_fails_only_if_it_fails_on_all_replicas() -> None:
    one, two = _worker("w:1", "m"), _worker("w:2", "m")
    async with _fleet(one, two) as fleet:
        model = _found(fleet, "m")
        await _both_ready(fleet, model)
        one.load_failure = EngineFailed("no memory")
        await fleet.load(model, pb.LoadRequest())
        two.load_failure = EngineFailed("no memory either")
        with pytest.raises(EngineFailed, match="either"):
            await fleet.load(model, pb.LoadRequest())


@pytest.mark.parametrize(
    ("reports", "expiry"),
    [
        ([pb.LoadReport()], None),
        ([pb.LoadReport(loaded=True, expires_unix_ns=5)], 5),
        ([pb.LoadReport(loaded=True, expires_unix_ns=5), pb.LoadReport(loaded=True, expires_unix_ns=9)], 9),
        ([pb.LoadReport(loaded=True, expires_unix_ns=5), pb.LoadReport(expires_unix_ns=9)], 5),
        ([pb.LoadReport(loaded=True, expires_unix_ns=5), pb.LoadReport(loaded=True)], 0),
    ],
)
async def test_the_latest_expiry_of_the_replicas_counts(
    reports: list[pb.LoadReport], expiry: int | None
) -> None:
    workers = [_worker(f"w:{number}", "m") for number, _ in enumerate(reports)]
    for worker, report in zip(workers, reports, strict=True):
        worker.report = report
    async with _fleet(*workers) as fleet:
        await until(
            lambda: len({picked(fleet, _found(fleet, "m")) for _ in workers}) == len(workers),
            _DEADLINE_SECONDS,
            "all are ready",
        )

        (loaded,) = fleet.loaded() or (None,)
        assert (loaded and loaded.expires_unix_ns) == expiry
        assert (len(loaded.replicas) if loaded else 0) == sum(report.loaded for report in reports)


async def test_a_model_that_never_expires_is_listed_first() -> None:
    soon, never, late = (
        _worker("w:1", "soon"),
        _worker("w:2", "never", digest="b"),
        _worker("w:3", "late", digest="c"),
    )
    for worker, expiry in ((soon, 5), (never, 0), (late, 9)):
        worker.report = pb.LoadReport(loaded=True, expires_unix_ns=expiry)
    async with _fleet(soon, never, late) as fleet:
        assert [loaded.model.name.model for loaded in fleet.loaded()] == ["never", "late", "soon"]


async def test_a_call_is_retried_at_another_worker() -> None:
    asked: list[str] = []

    async def where(worker: Worker) -> str:
        asked.append(worker.address)
        if len(asked) == 1:
            raise WorkerUnreachable("gone")
        return worker.address

    async with _fleet(_worker("w:1", "m"), _worker("w:2", "m")) as fleet:
        model = _found(fleet, "m")
        await _both_ready(fleet, model)
        assert await fleet.call(model, where) == asked[1]

    assert set(asked) == {"w:1", "w:2"}


@pytest.mark.parametrize("workers", [1, 5])
async def test_retries_of_a_call_are_limited(workers: int) -> None:
    asked: list[str] = []

    async def fails(worker: Worker) -> str:
        asked.append(worker.address)
        raise EngineFailed("out of memory")

    async with _fleet(*(_worker(f"w:{number}", "m") for number in range(workers))) as fleet:
        model = _found(fleet, "m")
        await until(lambda: len(fleet.workers()) == workers, _DEADLINE_SECONDS, "all are found")
        await until(lambda: all(seen.ready for seen in fleet.workers()), _DEADLINE_SECONDS, "all are ready")
        with pytest.raises(EngineFailed):
            await fleet.call(model, fails)

    # Twice in all; where there is only one worker, it may be back.
    assert len(asked) == 2
    assert len(set(asked)) == min(workers, 2)
