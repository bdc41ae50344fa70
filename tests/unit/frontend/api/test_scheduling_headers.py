"""The headers that set a request's priority and deadline."""

from __future__ import annotations

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.routing.scheduling_headers import DEADLINE, PRIORITY
from tests.fakes.stalling_worker import STALL, StallingWorker, content, done
from tests.unit.frontend.api.conftest import Frontend, Start

_CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_may_shorten_the_deadline(start: Start, stream: bool) -> None:
    worker = StallingWorker(steps=[STALL])
    async with start(worker, request_timeout_seconds=60) as frontend:
        answer = await frontend.client.post(
            "/api/chat", json={**_CHAT, "stream": stream}, headers={DEADLINE: "0.2"}
        )

    assert answer.status_code == 504
    assert answer.json() == {"error": "the request took longer than 0.2 seconds"}
    assert worker.handles[0].cancelled.is_set()


async def test_a_client_cannot_extend_the_deadline(start: Start) -> None:
    async with start(StallingWorker(steps=[STALL]), request_timeout_seconds=0.2) as frontend:
        answer = await frontend.client.post("/api/chat", json=_CHAT, headers={DEADLINE: "60"})

    assert answer.json() == {"error": "the request took longer than 0.2 seconds"}


async def test_embeddings_have_deadlines_too(start: Start) -> None:
    worker = StallingWorker(steps=[STALL])
    worker.described.capabilities.CopyFrom(pb.Capabilities(embedding=True))
    async with start(worker) as frontend:
        answer = await frontend.client.post(
            "/api/embed", json={"model": "m", "input": "x"}, headers={DEADLINE: "0.2"}
        )

    assert answer.status_code == 504
    assert worker.embedding_cancelled.is_set()


async def test_the_worker_gets_the_priority(start: Start) -> None:
    worker = StallingWorker(steps=[content("a"), done()])
    async with start(worker, max_priority=7) as frontend:
        await frontend.client.post("/api/chat", json=_CHAT, headers={PRIORITY: "9"})

    assert worker.handles[0].request.priority == 7


_MESSAGES: dict[str, object] = {"messages": [{"role": "user", "content": "x"}]}
_BODIES: dict[str, dict[str, object]] = {
    "/api/chat": _MESSAGES,
    "/api/generate": {"prompt": "x"},
    "/v1/chat/completions": {**_MESSAGES, "n": 2},
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {**_MESSAGES, "max_tokens": 5},
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", [PRIORITY, DEADLINE])
@pytest.mark.parametrize("path", _BODIES)
async def test_invalid_headers_are_refused_before_any_work(
    frontend: Frontend, path: str, name: str, stream: bool
) -> None:
    body = {"model": "m", "stream": stream, **_BODIES[path]}
    answer = await frontend.client.post(path, json=body, headers={name: "soon"})

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error if isinstance(error, str) else error["message"]).startswith(f"{name}: 'soon' is no ")
    assert not frontend.worker.handles
