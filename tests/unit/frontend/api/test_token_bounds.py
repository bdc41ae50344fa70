"""Tokenizing and detokenizing: bounded per request, and ended when the client disconnects."""

from __future__ import annotations

import asyncio

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.api import tokens
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tokenize", {"prompt": "x" * 11}),
        ("/v1/tokenize", {"prompt": ["x" * 6, "x" * 5]}),
        ("/api/tokenize", {"content": "x" * 11}),
        ("/v1/detokenize", {"tokens": [1] * 11}),
        ("/v1/detokenize", {"tokens": [[1] * 6, [1] * 5]}),
        ("/api/detokenize", {"tokens": [1] * 11}),
    ],
)
async def test_too_many_texts_or_ids_are_refused(
    frontend: Frontend, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, object]
) -> None:
    monkeypatch.setattr(tokens, "MAX_CHARACTERS", 10)
    monkeypatch.setattr(tokens, "MAX_IDS", 10)

    answer = await frontend.client.post(path, json={"model": "m", **body})

    assert answer.status_code == 400
    assert "11" in answer.text
    assert "10" in answer.text


class _SlowWorker(StallingWorker):
    """Never ends with a text."""

    asked = left = 0

    async def tokenize(self, request: pb.TokenizeRequest) -> pb.TokenizeResponse:
        self.asked += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.left += 1
        raise AssertionError


async def test_a_client_that_disconnects_ends_the_calls_to_the_worker(start: Start) -> None:
    worker = _SlowWorker()
    async with start(worker) as frontend:
        client = await RawClient.post(frontend.port, "/v1/tokenize", {"model": "m", "prompt": ["x"] * 100})
        await until(lambda: worker.asked == 1, DEADLINE_SECONDS, "the first text is there")
        client.leave()
        await until(lambda: worker.left == 1, DEADLINE_SECONDS, "it is cancelled")

        assert (await frontend.client.get("/api/version")).status_code == 200
        assert worker.asked == 1
