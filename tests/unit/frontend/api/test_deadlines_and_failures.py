"""Deadlines and failures: a status before the first line, an error line after it."""

from __future__ import annotations

import asyncio
import json

import pytest

from drover.errors import (
    ContextExceeded,
    DroverError,
    EngineFailed,
    NoWorkerReady,
    QueueFull,
    WorkerUnreachable,
    mapping_of,
)
from drover.v1 import engine_pb2 as pb
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import STALL, Forever, StallingWorker, Step, content, done, started
from tests.fakes.transcripts import scripted_case
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start

_JSON = "application/json; charset=utf-8"
_CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("steps", [[STALL], [started(), STALL]], ids=["queued", "prefill"])
async def test_a_deadline_before_the_first_line_is_a_status(
    start: Start, stream: bool, steps: list[Step]
) -> None:
    worker = StallingWorker(steps=steps)
    async with start(worker, request_timeout_seconds=0.2) as frontend:
        answer = await frontend.client.post("/api/chat", json={**_CHAT, "stream": stream})

    assert answer.status_code == 504
    assert answer.json() == {"error": "the request took longer than 0.2 seconds"}
    assert worker.handles[0].cancelled.is_set()


async def test_a_deadline_in_the_middle_of_a_stream_is_an_error_line(start: Start) -> None:
    worker = StallingWorker(steps=[content("a"), STALL])
    async with start(worker, request_timeout_seconds=0.2) as frontend:
        answer = await frontend.client.post("/api/chat", json=_CHAT)

    assert answer.status_code == 200
    first, last = [json.loads(line) for line in answer.content.splitlines()]
    assert first["message"]["content"] == "a"
    assert last == {"error": "the request took longer than 0.2 seconds"}
    assert worker.handles[0].cancelled.is_set()


async def test_a_deadline_applies_without_streaming(start: Start) -> None:
    worker = StallingWorker(steps=[Forever(content("a"))])
    async with start(worker, request_timeout_seconds=0.2) as frontend:
        answer = await frontend.client.post("/api/chat", json={**_CHAT, "stream": False})

    assert answer.status_code == 504
    assert worker.handles[0].cancelled.is_set()


async def test_a_deadline_frees_the_worker_though_the_client_does_not_read(start: Start) -> None:
    worker = StallingWorker(steps=[Forever(content("x" * 100_000))])
    async with start(worker, request_timeout_seconds=0.5) as frontend:
        client = await RawClient.post(frontend.port, "/api/chat", _CHAT, receive_buffer=4096)
        client.stop_reading()
        handle = await frontend.handle()

        await asyncio.wait_for(handle.cancelled.wait(), DEADLINE_SECONDS)
        client.leave()


async def test_without_a_deadline_a_request_waits(frontend: Frontend) -> None:
    frontend.worker.steps = [started(), STALL]
    client = await RawClient.post(frontend.port, "/api/chat", _CHAT)
    handle = await frontend.handle()
    await asyncio.wait_for(handle.stalled.wait(), DEADLINE_SECONDS)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(handle.cancelled.wait(), 0.5)
    client.leave()


_FAILURES = [
    EngineFailed("the engine died"),
    QueueFull(),
    WorkerUnreachable("gone"),
    ContextExceeded("too long"),
]


@pytest.mark.parametrize("error", _FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("stream", "content_type"), [(True, "application/json"), (False, _JSON)])
@pytest.mark.parametrize("begun", [[], [started()]], ids=["queued", "started"])
async def test_a_failure_before_the_first_line_is_a_status(
    frontend: Frontend, error: DroverError, stream: bool, content_type: str, begun: list[Step]
) -> None:
    frontend.worker.steps = [*begun, error]

    answer = await frontend.client.post("/api/chat", json={**_CHAT, "stream": stream})

    row = mapping_of(error)
    assert answer.status_code == row.http
    assert answer.headers["content-type"] == content_type
    assert answer.headers.get("retry-after") == (
        None if row.retry_after_seconds is None else str(row.retry_after_seconds)
    )
    assert answer.json() == {"error": error.message}
    assert frontend.worker.handles[0].cancelled.is_set()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("case", "error_type"), [("#err400", ContextExceeded), ("#err503", NoWorkerReady)])
async def test_an_engine_error_is_the_recorded_body(
    frontend: Frontend, case: str, error_type: type[DroverError], stream: bool
) -> None:
    recorded = scripted_case(f"chat {case} {stream}")
    frontend.worker.steps = [error_type(recorded.error())]

    answer = await frontend.client.post("/api/chat", json={**_CHAT, "stream": stream})

    assert (answer.status_code, answer.text) == (recorded.status, recorded.answer)
    assert answer.headers["content-type"] == recorded.content_type


@pytest.mark.parametrize("error", _FAILURES, ids=lambda error: type(error).__name__)
async def test_a_failure_in_the_middle_of_a_stream_is_its_last_line(
    frontend: Frontend, error: DroverError
) -> None:
    frontend.worker.steps = [content("a"), error]

    answer = await frontend.client.post("/api/chat", json=_CHAT)

    assert answer.status_code == 200
    lines = answer.content.splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1]) == {"error": error.message}
    assert b'"done":true' not in answer.content


async def test_a_failure_without_streaming_is_a_status(frontend: Frontend) -> None:
    frontend.worker.steps = [content("a"), EngineFailed("the engine died")]

    answer = await frontend.client.post("/api/chat", json={**_CHAT, "stream": False})

    assert (answer.status_code, answer.json()) == (500, {"error": "the engine died"})


@pytest.mark.parametrize("steps", [[], [started()], [content("a")]])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_stream_without_a_done_event_is_an_error(
    frontend: Frontend, steps: list[Step], stream: bool
) -> None:
    frontend.worker.steps = steps

    answer = await frontend.client.post("/api/chat", json={**_CHAT, "stream": stream})

    last = json.loads(answer.content.splitlines()[-1])
    assert last == {"error": "the worker broke the protocol: the stream ended without a done message"}
    assert answer.status_code == (200 if stream and steps and steps[0] == content("a") else 500)


async def test_a_call_that_is_no_json_does_not_break_the_stream(frontend: Frontend) -> None:
    piece = pb.ToolCallDelta(index=0, id="c", name="f", arguments_fragment='{"a')
    broken = pb.GenerateEvent(deltas=[pb.Delta(tool_calls=[piece])])
    frontend.worker.steps = [content("a"), broken, done()]

    answer = await frontend.client.post("/api/chat", json=_CHAT)

    last = json.loads(answer.content.splitlines()[-1])
    assert "error" in last or last["done"]


async def test_events_after_done_are_not_awaited(frontend: Frontend) -> None:
    frontend.worker.steps = [content("a"), done(), STALL]

    async with asyncio.timeout(1):
        answer = await frontend.client.post("/api/chat", json={**_CHAT, "stream": False})
        await frontend.worker.handles[0].stalled.wait()

    assert answer.json()["done"]


async def test_no_worker_is_ready_at_first(start: Start) -> None:
    async with start(StallingWorker(refusal=NoWorkerReady("still loading"))) as frontend:
        answer = await frontend.client.post("/api/chat", json=_CHAT)

        assert answer.status_code == 503
        assert answer.json() == {"error": "no engine worker is ready yet, please try again"}
        assert (await frontend.client.get("/readyz")).status_code == 503
        assert (await frontend.client.get("/healthz")).status_code == 200


async def test_the_model_of_a_removed_worker_stays_known(frontend: Frontend) -> None:
    frontend.worker.refusal = WorkerUnreachable("gone")

    async def is_unready() -> bool:
        return (await frontend.client.get("/readyz")).status_code == 503

    await until(is_unready, DEADLINE_SECONDS, "the fleet notices")
    answer = await frontend.client.post("/api/chat", json=_CHAT)

    assert answer.status_code == 503
    assert "'m:latest'" in answer.json()["error"]
    frontend.worker.refusal = None
    frontend.worker.steps = [content("back"), done()]

    async def is_ready() -> bool:
        return (await frontend.client.get("/readyz")).status_code == 200

    await until(is_ready, DEADLINE_SECONDS, "the worker is back")
    assert (await frontend.client.post("/api/chat", json=_CHAT)).status_code == 200
