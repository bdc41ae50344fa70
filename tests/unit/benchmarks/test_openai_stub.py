"""The stub behind the gateway gives what the load client takes for an OpenAI stream."""

from __future__ import annotations

import asyncio
import json

import httpx
from httpx import ASGITransport

from benchmarks.client.answer import Answer
from benchmarks.client.dialects import DIALECTS
from benchmarks.client.histogram import Histogram
from benchmarks.client.numbered import Order
from benchmarks.targets.openai_app import App, Message


class Running:
    """The stub between its startup and its shutdown."""

    def __init__(self, tokens: int) -> None:
        self.app = App(1, tokens)
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()

    async def __aenter__(self) -> App:
        self._life = asyncio.create_task(self.app({"type": "lifespan"}, self._events.get, self._said.put))
        await self._events.put({"type": "lifespan.startup"})
        assert (await self._said.get())["type"] == "lifespan.startup.complete"
        return self.app

    async def __aexit__(self, *_: object) -> None:
        await self._events.put({"type": "lifespan.shutdown"})
        await self._life


async def test_a_stream_has_all_tokens_in_order_and_an_end() -> None:
    answer = Answer(DIALECTS["openai"], Histogram(), Order())
    async with (
        Running(tokens=5) as app,
        httpx.AsyncClient(transport=ASGITransport(app), base_url="http://stub") as client,
    ):
        response = await client.post("/v1/chat/completions", json={})
    answer.read(response.content, 0.0)
    answer.end()
    assert (answer.problem, answer.tokens) == ("", 5)


async def test_what_a_gateway_asks_before_is_answered() -> None:
    async with (
        Running(tokens=1) as app,
        httpx.AsyncClient(transport=ASGITransport(app), base_url="http://stub") as client,
    ):
        models = json.loads((await client.get("/v1/models")).content)
        unknown = await client.get("/unknown")
    assert [each["id"] for each in models["data"]] == ["sim"]
    assert unknown.status_code == 404
