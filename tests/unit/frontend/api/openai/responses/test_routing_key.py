"""The id of a conversation as routing key."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from drover.json_value import Json
from tests.fakes.stalling_worker import StallingWorker, content, done, started
from tests.unit.frontend.api.conftest import Frontend, Start

TRIGGER: Json = {"type": "compaction_trigger"}


async def _key(frontend: Frontend, headers: Mapping[str, str] | None = None, **more: Json) -> str:
    body = {"model": "m", "input": "hi", **more}
    answer = await frontend.client.post("/v1/responses", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return (await frontend.handle()).request.routing_key


@pytest.fixture
def worker() -> StallingWorker:
    return StallingWorker(steps=[started(), content("a"), done()])


async def test_the_session_s_id_is_the_same_key_wherever_it_is(start: Start, worker: StallingWorker) -> None:
    async with start(worker) as frontend:
        key = await _key(frontend, prompt_cache_key="s-1")

        assert len(key) > 16
        assert await _key(frontend, {"session-id": "s-1"}) == key
        assert await _key(frontend, {"session-id": "s-2"}, prompt_cache_key="s-1") == key
        assert await _key(frontend, prompt_cache_key="s-2") != key


async def test_without_an_id_there_is_no_key(start: Start, worker: StallingWorker) -> None:
    async with start(worker) as frontend:
        assert await _key(frontend) == ""
        assert await _key(frontend, {"session-id": ""}, prompt_cache_key=None) == ""


async def test_a_compaction_and_its_conversation_have_the_same_key(
    start: Start, worker: StallingWorker
) -> None:
    same: dict[str, Json] = {"prompt_cache_key": "s-1", "cache_salt": "me"}
    async with start(worker) as frontend:
        key = await _key(frontend, None, **same)
        for path, more in (
            ("/v1/responses", {"stream": True, "input": [{"content": "hi", "role": "user"}, TRIGGER]}),
            ("/v1/responses/compact", {"input": "hi"}),
        ):
            answer = await frontend.client.post(path, json={"model": "m", **same, **more, "store": True})
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-drover-not-honoured"] == "store"
            request = (await frontend.handle()).request
            assert (request.routing_key, len(request.cache_salt)) == (key, len(key))


async def test_the_template_s_arguments_count(start: Start, worker: StallingWorker) -> None:
    body = {"model": "m", "input": "hi", "chat_template_kwargs": {"a": 1}}
    async with start(worker) as frontend:
        answer = await frontend.client.post("/v1/responses/input_tokens", json=body)
        assert answer.status_code == 200, answer.text
        assert worker.renders[-1].template_arguments_json == '{"a":1}'
