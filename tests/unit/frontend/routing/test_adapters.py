"""Adapters on the way of a request: a worker gets what it lacks before the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from drover.errors import AdapterMissing, DroverError, InvalidRequest, ModelNotFound, WorkerUnreachable
from drover.v1 import engine_pb2 as pb
from frontend.routing.fleet import Fleet
from frontend.routing.policies.affinity import affinity_of
from tests.fakes.fleets import ObservedFailovers
from tests.fakes.stalling_worker import StallingWorker, content, done, started
from tests.unit.frontend.routing.failover_fleet import (
    GONE,
    collect,
    failover_fleet,
    resumable_worker,
    text_of,
    tokens,
)
from tests.unit.frontend.routing.test_fleet import _name

_DIGEST = "ab" * 32
_ANSWER = (started(), content("hi"), done())


class _Source:
    """Implements AdapterSource."""

    def __init__(self, failure: DroverError | None = None) -> None:
        self._failure = failure

    async def parts(self, digest: str) -> AsyncGenerator[pb.AdapterPart, None]:
        yield pb.AdapterPart(header=pb.AdapterHeader(digest=digest))
        if self._failure is not None:
            raise self._failure
        yield pb.AdapterPart(data=b"x")


def _request() -> pb.GenerateRequest:
    return pb.GenerateRequest(raw="p", adapter=_DIGEST)


async def _ask(fleet: Fleet, source: _Source | None = None) -> str:
    fleet.adapters.source = source or _Source()
    return text_of(await collect(fleet, ObservedFailovers(), _request()))


async def test_a_worker_gets_the_adapter_once_before_the_request() -> None:
    worker = resumable_worker("w:0", *_ANSWER)
    at_upload: list[int] = []
    async with failover_fleet(worker) as fleet:
        worker.on_submit = lambda: at_upload.append(len(worker.adapters))
        assert await _ask(fleet) == "hi"
        worker.report.adapters.append(_DIGEST)
        assert await _ask(fleet) == "hi"

    assert at_upload == [1, 1]
    assert [part.WhichOneof("part") for part in worker.adapters[0]] == ["header", "data"]
    assert [handle.request.adapter for handle in worker.handles] == [_DIGEST] * 2


async def test_requests_that_wait_for_it_share_one_upload() -> None:
    worker = resumable_worker("w:0", *_ANSWER)
    async with failover_fleet(worker) as fleet:
        texts = await asyncio.gather(*(_ask(fleet) for _ in range(8)))

    assert texts == ["hi"] * 8
    assert len(worker.adapters) == 1


async def test_a_worker_that_has_lost_it_since_it_reported_gets_it_again() -> None:
    worker = resumable_worker("w:0", AdapterMissing("made room for others"))
    worker.report.adapters.append(_DIGEST)

    ids: list[str] = []

    def answers_the_next() -> None:
        worker.steps = _ANSWER
        ids.append(worker.handles[-1].request.request_id)

    worker.on_submit = answers_the_next
    async with failover_fleet(worker) as fleet:
        assert await _ask(fleet) == "hi"

    assert len(worker.adapters) == 1
    assert len(set(ids)) == 2


async def test_the_next_worker_of_a_resumed_answer_gets_it_first() -> None:
    workers = [resumable_worker(f"w:{number}", started(), tokens("one ", 7, 8), GONE) for number in range(2)]

    def continues(worker: StallingWorker) -> None:
        worker.steps = (started(), tokens("two", 9), done())

    workers[0].on_submit = lambda: continues(workers[1])
    workers[1].on_submit = lambda: continues(workers[0])
    async with failover_fleet(*workers) as fleet:
        assert await _ask(fleet) == "one two"

    assert [len(worker.adapters) for worker in workers] == [1, 1]
    assert [handle.request.adapter for worker in workers for handle in worker.handles] == [_DIGEST] * 2


async def test_a_worker_that_cannot_be_reached_is_left_for_another_one() -> None:
    workers = [resumable_worker(f"w:{number}", *_ANSWER) for number in range(2)]
    workers[0].adapter_refusal = WorkerUnreachable("gone")
    async with failover_fleet(*workers) as fleet:
        assert [await _ask(fleet) for _ in range(2)] == ["hi", "hi"]

    assert not workers[0].handles
    assert len(workers[1].handles) == 2


async def test_a_worker_that_lacks_an_adapter_keeps_its_other_requests() -> None:
    lacking, having = (resumable_worker(f"w:{number}", *_ANSWER) for number in range(2))
    having.report.adapters.append(_DIGEST)
    async with failover_fleet(lacking, having) as fleet:
        for _ in range(12):
            assert await _ask(fleet, _Source(AdapterMissing("the operator has not put it there"))) == "hi"
        failing = [worker.breaker.is_failing for worker in fleet._workers]

    assert failing == [False, False]
    assert not lacking.handles


@pytest.mark.parametrize("error", [ModelNotFound("it has been deleted"), InvalidRequest("it does not fit")])
async def test_an_adapter_that_cannot_be_had_ends_the_request(error: DroverError) -> None:
    worker = resumable_worker("w:0", *_ANSWER)
    source = _Source()
    if isinstance(error, ModelNotFound):
        source = _Source(error)
    else:
        worker.adapter_refusal = error
    async with failover_fleet(worker) as fleet:
        with pytest.raises(type(error), match=error.message):
            await _ask(fleet, source)

    assert not worker.handles


async def test_all_replicas_get_an_adapter_when_its_model_is_made() -> None:
    workers = [resumable_worker(f"w:{number}", *_ANSWER) for number in range(3)]
    workers[1].adapter_refusal = WorkerUnreachable("gone")
    async with failover_fleet(*workers) as fleet:
        model = fleet.find(_name("m"))
        assert model is not None
        fleet.adapters.source = _Source()
        await fleet.place_adapter(model, _DIGEST)
        assert [len(worker.adapters) for worker in workers] == [1, 1, 1]

        workers[2].adapter_refusal = InvalidRequest("it does not fit")
        with pytest.raises(InvalidRequest, match="does not fit"):
            await fleet.place_adapter(model, _DIGEST)
        for worker in workers:
            worker.adapter_refusal = WorkerUnreachable("gone")
        with pytest.raises(WorkerUnreachable):
            await fleet.place_adapter(model, _DIGEST)


async def test_workers_that_have_it_forget_it() -> None:
    workers = [resumable_worker(f"w:{number}", *_ANSWER) for number in range(2)]
    workers[1].report.adapters.append(_DIGEST)
    async with failover_fleet(*workers) as fleet:
        await fleet.remove_adapter(_DIGEST)

    assert [worker.deleted_adapters for worker in workers] == [[], [_DIGEST]]


def test_prefixes_of_an_adapter_and_of_the_base_have_other_keys() -> None:
    base, adapted = pb.GenerateRequest(raw="x" * 4096), pb.GenerateRequest(raw="x" * 4096, adapter=_DIGEST)

    assert affinity_of(base, "digest") is not None
    assert affinity_of(base, "digest") != affinity_of(adapted, "digest")
