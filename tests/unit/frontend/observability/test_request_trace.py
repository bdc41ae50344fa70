"""The spans that a frontend makes of a request, over fake workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from starlette.types import Message, Receive, Scope, Send

from drover.errors import InternalError, QueueFull
from drover.v1 import engine_pb2 as pb
from frontend.middleware.client_id import Clients
from frontend.middleware.request_log import RequestLog
from frontend.observability.request_record import RecordingObserver, RequestRecord, SilentObserver, record_of
from frontend.observability.request_trace import RequestTraces
from frontend.routing.backends.delivery import events_of
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet, can_embed
from frontend.routing.model_queue import HostLoad, QueueWait
from tests.fakes.stalling_worker import STALL, StallingWorker, content, done, started
from tests.support.span_memory import SpanMemory
from tests.support.waiting import until
from tests.unit.frontend.middleware.asgi_client import scope_of
from tests.unit.frontend.routing.failover_fleet import (
    DEADLINE_SECONDS,
    GONE,
    failover_fleet,
    resumable_worker,
    tokens,
)
from tests.unit.frontend.routing.test_fleet import _name

_CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_App = Callable[[Scope], Awaitable[int]]


@pytest.fixture
def memory() -> SpanMemory:
    return SpanMemory()


async def _request(memory: SpanMemory, work: _App, route: str = "/api/chat", **headers: str) -> RequestRecord:
    """A request whose handler is `work`, which returns the status of the answer."""
    records: list[RequestRecord] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        records.append(record_of(scope))
        status = await work(scope)
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def ignore(message: Message) -> None: ...

    async def receive() -> Message:
        return {"type": "http.request"}

    def finished(record: RequestRecord, _: str) -> None:
        if record.trace is not None:
            record.trace.finish(record, route)

    log = RequestLog(app, Clients([]), finished, RequestTraces(memory.tracing))
    await log(scope_of("POST", **headers), receive, ignore)
    return records[0]


def _generation(fleet: Fleet, request: pb.GenerateRequest | None = None) -> _App:
    async def work(scope: Scope) -> int:
        record = record_of(scope)
        model = fleet.find(_name("m"))
        assert model is not None
        record.served, record.fields["model"] = "m", "m"
        observer = RecordingObserver(record)
        asked = request or pb.GenerateRequest(raw="p", whole=True)
        assert record.trace is not None
        record.trace.describe(asked)
        async with asyncio.timeout(DEADLINE_SECONDS):
            handle = fleet.submit(model, asked, Ticket("c", "r"), observer)
            async for event in events_of(handle):
                if event.HasField("done"):
                    record.record_done(event.done)
        return 200

    return work


async def test_a_request_that_passes_straight_through_is_one_attempt(memory: SpanMemory) -> None:
    worker = resumable_worker("10.0.0.1:50051", started(), content("hi"), done())
    async with failover_fleet(worker) as fleet:
        record = await _request(memory, _generation(fleet), traceparent=_CALLER)

    assert memory.tree() == ["/POST /api/chat", "POST /api/chat/attempt"]
    attempt = memory.one("attempt")
    assert dict(attempt.attributes or {}) == {
        "server.address": "10.0.0.1",
        "server.port": 50051,
        "drover.worker": "10.0.0.1:50051",
    }
    sent = worker.handles[0].request.trace_context
    assert sent["traceparent"] == f"{_CALLER[:36]}{attempt.context.span_id:016x}-01"
    assert record.fields["trace_id"] == _CALLER[3:35]


async def test_the_request_has_the_conventions_attributes(memory: SpanMemory) -> None:
    worker = resumable_worker("w:1", started(), content("hi"), done())
    sampling = pb.Sampling(temperature=0.7, top_p=0.9, top_k=5, max_tokens=9, seed=3, stop=["private"])
    request = pb.GenerateRequest(raw="p", sampling=sampling)
    async with failover_fleet(worker) as fleet:
        await _request(memory, _generation(fleet, request))

    found = dict(memory.one("POST /api/chat").attributes or {})
    assert (
        found
        | {
            "http.request.method": "POST",
            "http.route": "/api/chat",
            "http.response.status_code": 200,
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "drover",
            "gen_ai.request.model": "m",
            "gen_ai.response.model": "m",
            "gen_ai.request.temperature": 0.7,
            "gen_ai.request.top_p": 0.9,
            "gen_ai.request.top_k": 5,
            "gen_ai.request.max_tokens": 9,
            "gen_ai.request.seed": 3,
            "gen_ai.request.stream": True,
            "gen_ai.usage.input_tokens": 1,
            "gen_ai.usage.output_tokens": 1,
            "gen_ai.response.finish_reasons": ("stop",),
        }
        == found
    )
    assert "private" not in repr(found)


async def test_a_failover_is_two_attempts_the_first_with_its_error(memory: SpanMemory) -> None:
    workers = [resumable_worker(f"w:{number}", started(), tokens("a", 1), GONE) for number in range(2)]
    for one, other in (workers, workers[::-1]):
        one.on_submit = lambda other=other: _answers(other)
    async with failover_fleet(*workers) as fleet:
        await _request(memory, _generation(fleet))

    root = "POST /api/chat"
    assert memory.tree() == [f"/{root}", f"{root}/attempt!WorkerUnreachable", f"{root}/attempt"]
    assert memory.one(root).attributes["drover.failovers"] == 1  # type: ignore[index]
    sent = [worker.handles[0].request.trace_context["traceparent"] for worker in workers]
    assert sent[0] != sent[1]
    assert sent[0][:35] == sent[1][:35]


def _answers(worker: StallingWorker) -> None:
    worker.steps = (tokens("b", 2), done())


async def test_a_wait_in_the_queue_is_a_span(memory: SpanMemory) -> None:
    worker = resumable_worker("w:1", started(), STALL)
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with failover_fleet(worker) as fleet:
        others = await _fill(fleet, worker)
        worker.steps = (started(), done())
        waiting = asyncio.create_task(_request(memory, _generation(fleet)))
        await until(lambda: fleet.queues.waiting == 1, DEADLINE_SECONDS, "it waits")
        others[0].cancel()
        await waiting
        others[1].cancel()
        await asyncio.wait(others)

    root = "POST /api/chat"
    assert memory.tree() == [f"/{root}", f"{root}/queue", f"{root}/attempt"]
    queue = memory.one("queue")
    assert queue.attributes == {"drover.queue.position": 1}
    assert (queue.end_time or 0) - (queue.start_time or 0) > 1_000_000


@pytest.mark.parametrize(
    ("began_before_ns", "lasts_ns"), [(10**9, 10**9), (10**10, 2 * 10**9), (-(10**9), 0)]
)
async def test_a_hosts_load_is_a_span_within_the_wait(
    memory: SpanMemory, began_before_ns: int, lasts_ns: int
) -> None:
    """One that began during the wait, before it, and by a clock that is ahead."""

    async def work(scope: Scope) -> int:
        trace = record_of(scope).trace
        assert trace is not None
        attempts = trace.attempts()
        attempts.queued()
        load = HostLoad("10.0.0.9:50061", time.time_ns() - began_before_ns)
        attempts.waited(QueueWait(2.0, 1, 2.0, load))
        return 200

    await _request(memory, work)
    assert sorted(memory.tree()) == ["/POST /api/chat", "POST /api/chat/queue", "queue/load"]
    load = memory.one("load")
    assert load.attributes == {"drover.host": "10.0.0.9:50061"}
    assert (load.end_time or 0) - (load.start_time or 0) == pytest.approx(lasts_ns, abs=10**8)


async def test_a_client_that_leaves_ends_what_is_open(memory: SpanMemory) -> None:
    worker = resumable_worker("w:1", started(), STALL)
    async with failover_fleet(worker) as fleet:
        request = asyncio.create_task(_request(memory, _generation(fleet)))
        await until(lambda: len(worker.handles) == 1, DEADLINE_SECONDS, "it runs")
        request.cancel()
        await asyncio.wait({request})

    assert memory.tree() == ["/POST /api/chat", "POST /api/chat/attempt!ClientLeft"]


async def test_a_wait_that_ends_without_a_worker_is_a_failed_span(memory: SpanMemory) -> None:
    worker = resumable_worker("w:1", started(), STALL)
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with failover_fleet(worker, max_waiting=0) as fleet:
        others = await _fill(fleet, worker)
        with pytest.raises(QueueFull):
            await _request(memory, _generation(fleet))
        for other in others:
            other.cancel()
        await asyncio.wait(others)

    root = "POST /api/chat"
    assert memory.tree() == [f"/{root}", f"{root}/queue!QueueFull"]


async def _fill(fleet: Fleet, worker: StallingWorker) -> list[asyncio.Task[RequestRecord]]:
    """One request runs at the worker, and one waits there."""
    others = [asyncio.create_task(_request(SpanMemory(), _generation(fleet))) for _ in range(2)]
    await until(lambda: len(worker.handles) == 2, DEADLINE_SECONDS, "the places are taken")
    return others


async def test_calls_with_one_response_carry_the_trace(memory: SpanMemory) -> None:
    model = pb.Model(names=["m"], digest="d", capabilities=_EMBEDS)
    answer = pb.EmbedResponse(embeddings=[pb.Embedding(values=[1.0])], prompt_tokens=1)
    worker = StallingWorker("w:1", described=model, embedded=answer)
    async with failover_fleet(worker) as fleet:

        async def work(scope: Scope) -> int:
            model = fleet.find(_name("m"), can_embed)
            assert model is not None
            request = pb.EmbedRequest(texts=["a"])
            await fleet.embed(model, request, Ticket(), RecordingObserver(record_of(scope)))
            assert request.trace_context["traceparent"].startswith("00-")
            return 200

        await _request(memory, work, "/api/embed")

    assert memory.tree() == ["/POST /api/embed", "POST /api/embed/attempt"]


_EMBEDS = pb.Capabilities(embedding=True)


@pytest.mark.parametrize(
    ("status", "error", "failed"),
    [(200, "", False), (404, "ModelNotFound", False), (500, "", True), (503, "QueueFull", True),
     (200, "EngineFailed", True)],
)  # fmt: skip
async def test_only_the_servers_failures_are_errors(
    memory: SpanMemory, status: int, error: str, failed: bool
) -> None:
    async def work(scope: Scope) -> int:
        if error:
            record_of(scope).fields["error"] = error
        return status

    await _request(memory, work)

    assert memory.tree() == ["/POST /api/chat" + (f"!{error or status}" if failed else "")]


async def test_a_handler_that_raises_ends_the_span(memory: SpanMemory) -> None:
    async def work(scope: Scope) -> int:
        record_of(scope).record_error(InternalError("no"))
        raise ValueError("no")

    with pytest.raises(ValueError):
        await _request(memory, work)
    assert memory.tree() == ["/POST /api/chat!InternalError"]


async def test_a_request_that_is_not_sampled_passes_its_context_on() -> None:
    memory = SpanMemory(ALWAYS_OFF)
    worker = resumable_worker("w:1", started(), done())
    async with failover_fleet(worker) as fleet:
        record = await _request(memory, _generation(fleet))

    assert memory.spans == []
    assert "trace_id" not in record.fields
    flags = worker.handles[0].request.trace_context["traceparent"].rpartition("-")[2]
    assert int(flags, 16) & 1 == 0


async def test_without_traces_a_request_carries_no_context() -> None:
    worker = resumable_worker("w:1", started(), done())
    async with failover_fleet(worker) as fleet:
        model = fleet.find(_name("m"))
        assert model is not None
        handle = fleet.submit(model, pb.GenerateRequest(raw="p"), Ticket(), SilentObserver())
        assert [event async for event in events_of(handle)]

    assert not worker.handles[0].request.trace_context


async def test_a_model_that_the_fleet_does_not_know_is_not_named(memory: SpanMemory) -> None:
    async def work(scope: Scope) -> int:
        record_of(scope).fields["model"] = "sk-secret"
        return 404

    await _request(memory, work)
    assert "sk-secret" not in repr([span.attributes for span in memory.spans])


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_scrapes_have_no_trace(memory: SpanMemory, path: str) -> None:
    scope = {**scope_of(), "path": path}
    assert RequestTraces(memory.tracing).begin(scope, "") is None


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-0-0-01", f"{_CALLER}-more", "\xff" * 55])
def test_a_context_that_cannot_be_read_begins_a_new_trace(memory: SpanMemory, traceparent: str) -> None:
    trace = RequestTraces(memory.tracing).begin(scope_of("POST", traceparent=traceparent), "")
    assert trace is not None
    assert len(trace.trace_id) == 32
    assert trace.trace_id != _CALLER[3:35]


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("10.0.0.1:50051", "10.0.0.1", 50051),
        ("worker-0.workers:50051", "worker-0.workers", 50051),
        ("[::1]:50051", "::1", 50051),
        ("ollama:http://gpu:11434/llama3.2", "gpu", 11434),
        ("ollama:https://gpu.example/org/m:7b#big", "gpu.example", None),
        ("unix:/run/drover.sock", "unix:/run/drover.sock", None),
    ],
)
def test_an_attempt_has_its_workers_address(
    memory: SpanMemory, address: str, host: str, port: int | None
) -> None:
    trace = RequestTraces(memory.tracing).begin(scope_of("POST"), "")
    assert trace is not None
    attempts = trace.attempts()
    attempts.sent_to(address)
    attempts.ended(None)
    found = memory.one("attempt").attributes or {}
    assert (found["server.address"], found.get("server.port")) == (host, port)
    assert found["drover.worker"] == address


def test_a_tracestate_in_several_headers_is_one_list(memory: SpanMemory) -> None:
    scope = scope_of("POST", traceparent=_CALLER)
    scope["headers"] += [(b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    trace = RequestTraces(memory.tracing).begin(scope, "")
    assert trace is not None
    sent = trace.attempts().sent_to("w:1")
    assert sent["tracestate"] == "a=1,b=2"
    assert sent["traceparent"].startswith(_CALLER[:36])


def test_two_parents_are_none(memory: SpanMemory) -> None:
    scope = scope_of("POST", traceparent=_CALLER)
    scope["headers"].append((b"traceparent", _CALLER.encode()))
    trace = RequestTraces(memory.tracing).begin(scope, "")
    assert trace is not None
    assert trace.trace_id not in ("", _CALLER[3:35])


def test_methods_that_clients_invent_are_no_names(memory: SpanMemory) -> None:
    record = RequestRecord("r", lambda message: asyncio.sleep(0))
    trace = RequestTraces(memory.tracing).begin(scope_of("SECRET"), "")
    assert trace is not None
    trace.finish(record, "")
    (span,) = memory.spans
    assert (span.name, (span.attributes or {})["http.request.method"]) == ("HTTP", "_OTHER")


def test_work_after_the_response_is_a_span_of_its_own(memory: SpanMemory) -> None:
    record = RequestRecord("r", lambda message: asyncio.sleep(0), status=200)
    trace = RequestTraces(memory.tracing).begin(scope_of("POST"), "")
    assert trace is not None
    later = trace.detached()
    trace.finish(record, "/v1/responses")
    later.finish(record, "background")
    assert memory.tree() == ["/POST /v1/responses", "POST /v1/responses/background"]
