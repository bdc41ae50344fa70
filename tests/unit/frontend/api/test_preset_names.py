"""Names of presets: conflicts with served models and other frontends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from drover.errors import WorkerUnreachable
from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start
from tests.unit.frontend.api.preset_requests import PIRATE, create, delete, names, post, worker


@pytest.fixture
async def frontend(start: Start) -> AsyncIterator[Frontend]:
    async with start(worker()) as running:
        yield running


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
async def test_no_embeddings_while_the_base_is_absent(start: Start, path: str) -> None:
    async with start(worker()) as frontend:
        await create(frontend)
    other = StallingWorker(described=pb.Model(names=["else:latest"], digest="0" * 64))
    async with start(other) as frontend:
        response = await post(frontend, path, model="pirate", input="a", prompt="a")

    assert response.status_code == 503
    assert "which no engine worker serves" in response.json()["error"]


async def test_every_name_of_a_served_model_is_refused(frontend: Frontend) -> None:
    made = await post(frontend, "/api/create", **{**PIRATE, "model": "m:local"})
    copied = await post(frontend, "/api/copy", source="m", destination="M:Local")

    assert (made.status_code, copied.status_code) == (400, 400)
    assert "cannot overwrite 'm:latest'" in made.json()["error"]


async def test_a_preset_hidden_by_a_served_model_can_be_deleted(start: Start) -> None:
    async with start(worker()) as frontend:
        await create(frontend, model="else")
    other = StallingWorker(described=pb.Model(names=["else:latest"], digest="0" * 64))
    async with start(other) as frontend:
        await until(lambda: _finds(frontend, "else"), DEADLINE_SECONDS, "it is served")
        assert (await delete(frontend, model="else")).status_code == 200
        assert (await delete(frontend, model="else")).status_code == 400


async def _finds(frontend: Frontend, name: str) -> bool:
    return f"{name}:latest" in await names(frontend)


async def test_create_waits_for_the_first_worker(start: Start) -> None:
    away = StallingWorker(refusal=WorkerUnreachable("gone"))
    async with start(away) as frontend:
        responses = [
            await post(frontend, "/api/create", **PIRATE),
            await post(frontend, "/api/copy", source="m", destination="c"),
            await delete(frontend, model="m"),
        ]

    assert [response.status_code for response in responses] == [503, 503, 503]


async def test_a_copy_of_a_served_model_is_the_same_model(frontend: Frontend) -> None:
    assert (await post(frontend, "/api/copy", source="m", destination="c")).status_code == 200
    tags = (await frontend.client.get("/api/tags")).json()["models"]

    assert len({model["digest"] for model in tags}) == 1


async def test_create_and_show_read_the_database(start: Start) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(start(worker(), preset_poll_seconds=3600))
        await create(one)
        other = await stack.enter_async_context(start(worker(), preset_poll_seconds=3600))
        assert await _finds(other, "Pirate")
        await create(one, system="Be a parrot.")
        assert (await post(other, "/api/show", model="pirate")).json()["system"] == "Be a parrot."
        await create(one, system="Be a plum.")
        await create(other, model="second", **{"from": "pirate", "system": ""})
        assert (await post(one, "/api/show", model="second")).json()["system"] == "Be a plum."


@pytest.mark.parametrize(
    "extra",
    [{"images": ["AA=="]}, {"tool_calls": [{"function": {"name": "f", "arguments": {}}}]}],
)
async def test_messages_with_images_or_calls_are_refused(
    frontend: Frontend, extra: dict[str, object]
) -> None:
    message = {"role": "user", "content": "q", **extra}
    response = await post(frontend, "/api/create", **{**PIRATE, "messages": [message]})

    assert response.status_code == 400
    assert f"message 1 has {next(iter(extra))}" in response.json()["error"]


async def test_an_infinite_parameter_is_refused(frontend: Frontend) -> None:
    body = b'{"model":"x","from":"m","parameters":{"temperature":1e999}}'
    response = await frontend.client.post("/api/create", content=body)

    assert response.status_code == 400
    assert "cannot unmarshal number 1e999" in response.json()["error"]
