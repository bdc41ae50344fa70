"""Several choices of one request: they are answered, cancelled and failed together."""

from __future__ import annotations

import asyncio
import json

import pytest

from drover.errors import EngineFailed
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import STALL, content, done, started
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend

_CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 3}


async def test_the_response_has_all_choices(frontend: Frontend) -> None:
    frontend.worker.steps = [started(), content("a"), done()]

    answer = await frontend.client.post("/v1/chat/completions", json=_CHAT)

    choices = answer.json()["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [
        (0, "a"),
        (1, "a"),
        (2, "a"),
    ]
    assert len({handle.request.request_id for handle in frontend.worker.handles}) == 3
    assert all(handle.finished for handle in frontend.worker.handles)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_disconnect_cancels_all_choices(frontend: Frontend, stream: bool) -> None:
    frontend.worker.steps = [started(), content("a"), STALL]
    client = await RawClient.post(frontend.port, "/v1/chat/completions", {**_CHAT, "stream": stream})
    await until(lambda: len(frontend.worker.handles) == 3, DEADLINE_SECONDS, "all are submitted")
    for handle in frontend.worker.handles:
        await asyncio.wait_for(handle.stalled.wait(), DEADLINE_SECONDS)

    client.leave()

    for handle in frontend.worker.handles:
        await asyncio.wait_for(handle.cancelled.wait(), DEADLINE_SECONDS)


async def test_choices_above_the_limit_of_all_together_are_refused(frontend: Frontend) -> None:
    frontend.worker.steps = [started(), content("a"), done()]
    long = {"n": 128, "messages": [{"role": "user", "content": "x" * (1024 * 1024)}]}

    answer = await frontend.client.post("/v1/chat/completions", json={**_CHAT, **long})

    assert answer.status_code == 413
    assert "together" in answer.json()["error"]["message"]
    assert not frontend.worker.handles
    assert (await frontend.client.post("/v1/chat/completions", json={**_CHAT, **long, "n": 1})).is_success


async def test_a_failed_choice_ends_the_stream(frontend: Frontend) -> None:
    def then_fail() -> None:
        is_last = len(frontend.worker.handles) == 2
        frontend.worker.steps = [content("a"), EngineFailed("it broke")] if is_last else [content("a"), STALL]

    frontend.worker.on_submit = then_fail
    frontend.worker.steps = [content("a"), STALL]

    answer = await frontend.client.post("/v1/chat/completions", json={**_CHAT, "stream": True})

    *chunks, last = answer.text.removesuffix("\n\n").split("\n\n")
    assert chunks
    assert json.loads(last.removeprefix("data: ")) == {
        "error": {
            "message": "service unavailable: it broke",
            "type": "server_error",
            "param": None,
            "code": None,
        }
    }
    assert "[DONE]" not in answer.text
    assert all(handle.cancelled.is_set() for handle in frontend.worker.handles)


async def test_a_failed_choice_fails_a_response_that_is_not_streamed(frontend: Frontend) -> None:
    frontend.worker.steps = [content("a"), EngineFailed("it broke")]

    answer = await frontend.client.post("/v1/chat/completions", json=_CHAT)

    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "it broke"
    assert all(handle.cancelled.is_set() for handle in frontend.worker.handles)


@pytest.mark.parametrize("steps", [[], [content("a")]])
async def test_a_choice_without_a_done_message_is_an_error(frontend: Frontend, steps: list[object]) -> None:
    frontend.worker.steps = steps  # type: ignore[assignment]  # events of one kind only

    answer = await frontend.client.post("/v1/chat/completions", json=_CHAT)

    assert answer.status_code == 500
    assert "without a done message" in answer.json()["error"]["message"]


@pytest.mark.parametrize("number", [1, 2])
async def test_a_choice_ends_with_its_done_message(frontend: Frontend, number: int) -> None:
    frontend.worker.steps = [content("a"), done(), STALL]

    async with asyncio.timeout(2):
        answer = await frontend.client.post("/v1/chat/completions", json={**_CHAT, "n": number})

    assert len(answer.json()["choices"]) == number
