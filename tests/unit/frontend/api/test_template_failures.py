"""A Go template that fails on a conversation: 500 natively, as in Ollama, and 400 under /v1."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from drover.errors import TemplateFailed
from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker, Step, started
from tests.unit.frontend.api.conftest import Frontend, Start

_WORDS = 'template: :1:12: executing "" at <index .Messages 9>: error calling index: index out of range: 9'
_MESSAGES = [{"role": "user", "content": "x"}]
_BODIES: dict[str, dict[str, object]] = {
    "/api/chat": {"messages": _MESSAGES},
    "/api/generate": {"prompt": "x"},
    "/v1/chat/completions": {"messages": _MESSAGES},
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"messages": _MESSAGES, "max_tokens": 9},
}


class _FailingToRender(StallingWorker):
    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        raise TemplateFailed(_WORDS)


@pytest.fixture
async def frontend(start: Start) -> AsyncIterator[Frontend]:
    async with start(StallingWorker()) as running:
        yield running


@pytest.mark.parametrize("begun", [[], [started()]], ids=["queued", "started"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", _BODIES)
async def test_statuses_of_template_failures(
    frontend: Frontend, path: str, stream: bool, begun: list[Step]
) -> None:
    frontend.worker.steps = [*begun, TemplateFailed(_WORDS)]

    answer = await frontend.client.post(path, json={"model": "m", "stream": stream, **_BODIES[path]})

    is_v1 = path.startswith("/v1/")
    assert answer.status_code == (400 if is_v1 else 500)
    assert "retry-after" not in answer.headers
    error = answer.json()["error"]
    if is_v1:
        assert (error["type"], error["message"]) == ("invalid_request_error", _WORDS)
    else:
        assert error == _WORDS


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/messages/count_tokens", {"messages": _MESSAGES}, 400),
        ("/v1/tokenize", {"messages": _MESSAGES}, 400),
        ("/api/chat", {"messages": _MESSAGES, "_debug_render_only": True}, 500),
    ],
)
async def test_template_failures_when_only_rendering(
    start: Start, path: str, body: dict[str, object], status: int
) -> None:
    async with start(_FailingToRender()) as frontend:
        answer = await frontend.client.post(path, json={"model": "m", **body})

    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["message"] if path.startswith("/v1/") else error) == _WORDS
