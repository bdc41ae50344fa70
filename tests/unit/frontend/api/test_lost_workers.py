"""What clients read when a worker is lost: in mid-answer the words on which they send the request again, and
before the answer a wait that outlasts a restart.
"""

from __future__ import annotations

import json

import pytest

from drover.errors import (
    DroverError,
    EngineFailed,
    InvalidRequest,
    NoWorkerReady,
    QueueFull,
    WorkerDraining,
    WorkerUnreachable,
)
from tests.fakes.stalling_worker import StallingWorker, content, started
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start

_MESSAGES = [{"role": "user", "content": "x"}]
_BODIES: dict[str, dict[str, object]] = {
    "/api/chat": {"model": "m", "messages": _MESSAGES},
    "/api/generate": {"model": "m", "prompt": "x"},
    "/v1/chat/completions": {"model": "m", "messages": _MESSAGES},
    "/v1/completions": {"model": "m", "prompt": "x"},
    "/v1/responses": {"model": "m", "input": "x"},
    "/v1/messages": {"model": "m", "max_tokens": 5, "messages": _MESSAGES},
}
_PATHS = pytest.mark.parametrize("path", sorted(_BODIES))
_LOST = pytest.mark.parametrize(
    "error",
    [WorkerUnreachable("the worker was lost: gone"), WorkerDraining("bye"), EngineFailed("it broke")],
    ids=lambda error: type(error).__name__,
)


async def _last_event(frontend: Frontend, path: str, error: DroverError, **more: object) -> dict[str, object]:
    frontend.worker.steps = [started(), content("a"), error]
    answer = await frontend.client.post(path, json={**_BODIES[path], "stream": True, **more})
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text
    last: dict[str, object] = json.loads(answer.text.rpartition("data: ")[2])
    return last


@_LOST
@pytest.mark.parametrize("more", [{}, {"n": 2}], ids=["one choice", "two choices"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_openais_clients_retry(
    frontend: Frontend, path: str, error: DroverError, more: dict[str, object]
) -> None:
    last = await _last_event(frontend, path, error, **more)

    assert last["error"] == {
        "message": f"service unavailable: {error.message}",
        "type": "server_error",
        "param": None,
        "code": None,
    }


@_LOST
async def test_clients_of_the_responses_api_retry(frontend: Frontend, error: DroverError) -> None:
    last = await _last_event(frontend, "/v1/responses", error)

    assert last["type"] == "response.failed"
    failed = last["response"]
    assert isinstance(failed, dict)
    assert failed["error"] == {"code": "server_error", "message": f"service unavailable: {error.message}"}


@_LOST
async def test_anthropics_clients_retry(frontend: Frontend, error: DroverError) -> None:
    last = await _last_event(frontend, "/v1/messages", error)

    assert last["type"] == "error"
    assert last["error"] == {"type": "overloaded_error", "message": error.message}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
async def test_invalid_requests_are_not_retried(frontend: Frontend, path: str) -> None:
    last = json.dumps(await _last_event(frontend, path, InvalidRequest("bad")))

    assert "bad" in last
    assert not any(words in last for words in ("service unavailable", "server_error", "overloaded_error"))


@_PATHS
@pytest.mark.parametrize("stream", [True, False])
async def test_a_full_queue_has_retry_after_one_second(frontend: Frontend, path: str, stream: bool) -> None:
    frontend.worker.steps = [QueueFull()]

    answer = await frontend.client.post(path, json={**_BODIES[path], "stream": stream})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@_PATHS
@pytest.mark.parametrize("stream", [True, False])
async def test_no_worker_has_retry_after(start: Start, path: str, stream: bool) -> None:
    async with start(StallingWorker(refusal=NoWorkerReady("still loading"))) as frontend:
        answer = await frontend.client.post(path, json={**_BODIES[path], "stream": stream})

    assert answer.status_code == 503
    assert 5 <= int(answer.headers["retry-after"]) <= 10


@_PATHS
@pytest.mark.parametrize("stream", [True, False])
async def test_an_absent_worker_has_retry_after(frontend: Frontend, path: str, stream: bool) -> None:
    frontend.worker.refusal = WorkerUnreachable("gone")

    async def is_unready() -> bool:
        return (await frontend.client.get("/readyz")).status_code == 503

    await until(is_unready, DEADLINE_SECONDS, "the fleet notices")
    answer = await frontend.client.post(path, json={**_BODIES[path], "stream": stream})

    assert answer.status_code == 503
    assert 5 <= int(answer.headers["retry-after"]) <= 10
