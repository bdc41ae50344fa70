"""Texts that stalled a worker: routes that generate nothing do not retry them."""

from __future__ import annotations

import asyncio

import pytest

from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.routing import managed_worker
from tests.fakes.stalling_worker import StallingWorker, default_model
from tests.unit.frontend.api.conftest import Start

_TURNS: Json = [{"role": "user", "content": "x"}]


class _Stopping(StallingWorker):
    """Stops at each text."""

    asked = 0

    async def _stop(self) -> None:
        self.asked += 1
        self.is_silent = True
        await asyncio.Event().wait()

    async def tokenize(self, request: pb.TokenizeRequest) -> pb.TokenizeResponse:
        await self._stop()
        return pb.TokenizeResponse()

    async def detokenize(self, request: pb.DetokenizeRequest) -> pb.DetokenizeResponse:
        await self._stop()
        return pb.DetokenizeResponse()

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        await self._stop()
        return self.rendered

    async def score(self, request: pb.ScoreRequest, client_request_id: str) -> pb.ScoreResponse:
        raise NotImplementedError

    async def embed(self, request: pb.EmbedRequest, client_request_id: str) -> pb.EmbedResponse:
        await self._stop()
        return pb.EmbedResponse()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/embed", {"input": "x"}),
        ("/api/embeddings", {"prompt": "x"}),
        ("/v1/embeddings", {"input": "x"}),
        ("/api/tokenize", {"content": "x"}),
        ("/api/detokenize", {"tokens": [65]}),
        ("/v1/tokenize", {"prompt": ["x", "y"]}),
        ("/v1/tokenize", {"messages": _TURNS}),
        ("/v1/detokenize", {"tokens": [65]}),
        ("/v1/messages/count_tokens", {"messages": _TURNS}),
        ("/api/chat", {"messages": _TURNS, "_debug_render_only": True}),
    ],
)
async def test_a_text_that_stalled_a_worker_alone_is_not_retried(
    start: Start, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Json]
) -> None:
    monkeypatch.setattr(managed_worker, "_SILENCE_SECONDS", 1.0)
    model = default_model()
    model.capabilities.embedding = True
    worker = _Stopping(described=model)
    async with start(worker) as frontend:
        first = await frontend.client.post(path, json={"model": "m", **body})
        again = await frontend.client.post(path, json={"model": "m", **body})

    assert (first.status_code, "may be the cause" in first.text) == (422, True)
    assert (again.status_code, "same request" in again.text) == (422, True)
    assert worker.asked == 1
