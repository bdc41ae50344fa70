"""The routes of Messages and Responses over a scripted worker."""

from __future__ import annotations

import json

import pytest
import zstandard

from drover.errors import EngineFailed, QueueFull
from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import STALL, StallingWorker, content, default_model, done, started
from tests.support.sse import events_of
from tests.unit.frontend.api.conftest import Frontend, Start

_TOOLS = {
    "/v1/messages": [{"name": "f", "input_schema": {"type": "object"}}],
    "/v1/responses": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
}
_CHOICES = {
    "/v1/messages": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "/v1/responses": {"type": "function", "name": "f"},
}
_BODIES: dict[str, dict[str, object]] = {
    "/v1/messages": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]},
    "/v1/responses": {"model": "m", "input": "x", "parallel_tool_calls": False},
}
PATHS = pytest.mark.parametrize("path", sorted(_BODIES))


def _able() -> StallingWorker:
    model = default_model()
    model.capabilities.tools = True
    return StallingWorker(described=model, steps=[started(), content("a"), done()])


@PATHS
async def test_a_choice_of_tools_reaches_the_worker(start: Start, path: str) -> None:
    body = {**_BODIES[path], "tools": _TOOLS[path], "tool_choice": _CHOICES[path]}
    async with start(_able()) as frontend:
        answer = await frontend.client.post(path, json=body)

        assert answer.status_code == 200
        request = (await frontend.handle()).request
    assert request.tool_choice == pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="f", parallel=False)
    assert [tool.name for tool in request.chat.tools] == ["f"]


@PATHS
@pytest.mark.parametrize(("error", "status"), [(EngineFailed("it broke"), 500), (QueueFull("full"), 503)])
async def test_an_error_before_the_first_event_has_a_status(
    frontend: Frontend, path: str, error: EngineFailed | QueueFull, status: int
) -> None:
    frontend.worker.steps = [started(), error]
    # Codex sends a request thirty times after a 500, and does not show why.
    status = 503 if path == "/v1/responses" else status

    answer = await frontend.client.post(path, json={**_BODIES[path], "stream": True})

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["error"]["message"] == error.message
    assert ("retry-after" in answer.headers) == (status == 503)


@PATHS
async def test_an_error_in_mid_stream_is_an_event(frontend: Frontend, path: str) -> None:
    frontend.worker.steps = [started(), content("a"), EngineFailed("it broke")]

    answer = await frontend.client.post(path, json={**_BODIES[path], "stream": True})

    assert answer.status_code == 200
    name, data = events_of(answer.text)[-1]
    assert name in ("error", "response.failed")
    assert "it broke" in json.dumps(data)


@PATHS
async def test_streams_have_the_headers_against_buffering(frontend: Frontend, path: str) -> None:
    frontend.worker.steps = [started(), content("a"), done()]

    answer = await frontend.client.post(path, json={**_BODIES[path], "stream": True})

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"


@PATHS
async def test_bodies_may_be_zstd(frontend: Frontend, path: str) -> None:
    frontend.worker.steps = [content("a"), done()]
    packed = zstandard.compress(json.dumps(_BODIES[path]).encode())

    answer = await frontend.client.post(path, content=packed, headers={"content-encoding": "zstd"})

    assert answer.status_code == 200


@PATHS
async def test_truncated_tokens_are_in_a_header(frontend: Frontend, path: str) -> None:
    cut = pb.GenerateEvent(started=pb.Started(prompt_ids=[1], truncated_tokens=7))
    frontend.worker.steps = [cut, content("a"), done()]

    answer = await frontend.client.post(path, json={**_BODIES[path], "options": {"num_gpu": 1}})

    assert answer.headers["x-drover-truncated-tokens"] == "7"
    assert answer.headers["x-drover-not-honoured"] == "num_gpu"


async def test_truncated_tokens_are_counted(frontend: Frontend) -> None:
    frontend.worker.rendered = pb.RenderResponse(ids=[1, 2, 3], truncated_tokens=7)

    answer = await frontend.client.post("/v1/messages/count_tokens", json=_BODIES["/v1/messages"])

    assert answer.json() == {"input_tokens": 10}


async def test_sampling_is_the_native_routes_except_responses_temperature(frontend: Frontend) -> None:
    """ollama-contract.md, "OpenAI: responses" and "Anthropic: messages"."""
    frontend.worker.steps = [content("a"), done()]
    seen = {}
    for path, body in _BODIES.items():
        await frontend.client.post(path, json=body)
        seen[path] = frontend.worker.handles[-1].request.sampling

    assert seen["/v1/messages"].temperature == pytest.approx(0.8)
    assert seen["/v1/responses"].temperature == pytest.approx(1.0)
    assert {round(sampling.top_p, 3) for sampling in seen.values()} == {0.9}


@PATHS
async def test_a_client_that_leaves_cancels(frontend: Frontend, path: str) -> None:
    frontend.worker.steps = [content("a"), STALL]

    async with frontend.client.stream("POST", path, json={**_BODIES[path], "stream": True}) as answer:
        await anext(answer.aiter_bytes())
        handle = await frontend.handle()
    await handle.cancelled.wait()
