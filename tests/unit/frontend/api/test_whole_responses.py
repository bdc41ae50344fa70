"""Requests without streaming are marked `whole` for the worker."""

from __future__ import annotations

import pytest

from tests.fakes.stalling_worker import content, done, started
from tests.unit.frontend.api.conftest import Frontend

_MESSAGES = [{"role": "user", "content": "x"}]
_BODIES: dict[str, dict[str, object]] = {
    "/api/chat": {"messages": _MESSAGES},
    "/api/generate": {"prompt": "x"},
    "/v1/chat/completions": {"messages": _MESSAGES},
    "/v1/completions": {"prompt": "x"},
    "/v1/messages": {"messages": _MESSAGES, "max_tokens": 8},
    "/v1/responses": {"input": "x"},
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", sorted(_BODIES))
async def test_requests_without_streaming_are_marked_whole(
    frontend: Frontend, path: str, stream: bool
) -> None:
    frontend.worker.steps = [started(), content("a"), done()]

    answer = await frontend.client.post(path, json={"model": "m", "stream": stream, **_BODIES[path]})

    assert answer.status_code == 200, answer.text
    assert [handle.request.whole for handle in frontend.worker.handles] == [not stream]


async def test_each_of_several_choices_is_marked_whole(frontend: Frontend) -> None:
    frontend.worker.steps = [started(), content("a"), done()]

    body = {"model": "m", "messages": _MESSAGES, "n": 2}
    assert (await frontend.client.post("/v1/chat/completions", json=body)).status_code == 200

    assert [handle.request.whole for handle in frontend.worker.handles] == [True, True]
