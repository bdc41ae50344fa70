"""`--heartbeat-seconds`: heartbeats until the answer begins, and none afterwards."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.responses import Response
from starlette.types import Message

from drover.errors import DroverError, EngineFailed
from frontend.api.response_writer import ResponseWriter
from tests.fakes.stalling_worker import STALL, StallingWorker, Step, content, done, started
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Start

_BODIES: dict[str, dict[str, object]] = {
    "/api/chat": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    "/api/generate": {"model": "m", "prompt": "x"},
}
_SILENCE: dict[str, dict[str, object]] = {
    "/api/chat": {"message": {"role": "assistant", "content": ""}},
    "/api/generate": {"response": ""},
}
_OFTEN = 0.05


@pytest.mark.parametrize("path", sorted(_BODIES))
@pytest.mark.parametrize("steps", [[STALL], [started(), STALL]], ids=["queued", "prefill"])
async def test_empty_lines_until_the_request_ends(start: Start, path: str, steps: list[Step]) -> None:
    worker = StallingWorker(steps=steps)
    async with (
        start(worker, heartbeat_seconds=_OFTEN) as frontend,
        frontend.client.stream("POST", path, json=_BODIES[path]) as answer,
    ):
        lines = answer.aiter_lines()
        first, second = json.loads(await anext(lines)), json.loads(await anext(lines))
        # The only worker is asked once more, and breaks again.
        worker.steps = [EngineFailed("it broke")]
        (await frontend.handle()).abandon(EngineFailed("it broke"))
        last = [line async for line in lines][-1]

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["x-accel-buffering"] == "no"
    for line in (first, second):
        assert line.pop("created_at")
        assert line == {"model": "m", **_SILENCE[path], "done": False}
    assert json.loads(last) == {"error": "it broke"}


async def test_no_heartbeat_after_the_first_line(start: Start) -> None:
    worker = StallingWorker(steps=[content("a"), STALL])
    async with start(worker, heartbeat_seconds=_OFTEN, request_timeout_seconds=10 * _OFTEN) as frontend:
        answer = await frontend.client.post("/api/chat", json=_BODIES["/api/chat"])

    first, last = [json.loads(line) for line in answer.content.splitlines()]
    assert first["message"]["content"] == "a"
    assert "error" in last


async def test_no_heartbeat_without_streaming(start: Start) -> None:
    worker = StallingWorker(steps=[STALL])
    async with start(worker, heartbeat_seconds=_OFTEN, request_timeout_seconds=5 * _OFTEN) as frontend:
        answer = await frontend.client.post("/api/chat", json={**_BODIES["/api/chat"], "stream": False})

    assert answer.status_code == 504


async def test_no_heartbeat_by_default(start: Start) -> None:
    worker = StallingWorker(steps=[started(), content("a"), done()])
    async with start(worker) as frontend:
        answer = await frontend.client.post("/api/chat", json=_BODIES["/api/chat"])

    assert [json.loads(line)["done"] for line in answer.content.splitlines()] == [False, True]


async def test_a_client_that_disconnects_between_heartbeats_frees_the_slot(start: Start) -> None:
    worker = StallingWorker(steps=[STALL])
    async with start(worker, heartbeat_seconds=_OFTEN) as frontend:
        async with frontend.client.stream("POST", "/api/chat", json=_BODIES["/api/chat"]) as answer:
            await anext(answer.aiter_lines())
        handle = await frontend.handle()
        await until(handle.cancelled.is_set, DEADLINE_SECONDS, "the request is cancelled")


@pytest.mark.parametrize(
    ("path", "body", "beat"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, b":"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "n": 2}, b":"),
        ("/v1/completions", {"prompt": "x"}, b":"),
        ("/v1/responses", {"input": "x"}, b":"),
        (
            "/v1/messages",
            {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5},
            b'event: ping\ndata: {"type":"ping"}',
        ),
    ],
)
async def test_heartbeats_of_the_other_dialects(
    start: Start, path: str, body: dict[str, object], beat: bytes
) -> None:
    worker = StallingWorker(steps=[STALL])
    async with start(worker, heartbeat_seconds=_OFTEN, request_timeout_seconds=6 * _OFTEN) as frontend:
        answer = await frontend.client.post(path, json={"model": "m", "stream": True, **body})

    frames = answer.content.removesuffix(b"\n\n").split(b"\n\n")
    beats = [frame for frame in frames if frame == beat]
    ending = frames[len(beats) :]
    assert answer.headers["content-type"] == "text/event-stream"
    assert len(beats) >= 3
    assert frames[: len(beats)] == beats
    # A stream of Responses begins before it fails, in several events.
    assert b"the request took longer than" in b"".join(ending)


class _Plain:
    """Implements frontend.api.response_writer.StreamFormat."""

    stream_content_type = b"text/plain"

    def heartbeat(self) -> bytes:
        return b"beat"

    def error_line(self, error: DroverError) -> bytes:
        return b"error"

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        raise AssertionError("not asked for")


async def test_a_cancelled_heartbeat_does_not_begin_the_response() -> None:
    """A client that has not read its last answer holds up the next one's first byte."""
    reads, sent = asyncio.Event(), list[Message]()

    async def send(message: Message) -> None:
        await reads.wait()
        sent.append(message)

    sending = ResponseWriter(send, _Plain(), send)
    beat = asyncio.create_task(sending.heartbeat())
    await asyncio.sleep(0)
    beat.cancel()
    await asyncio.wait({beat})
    reads.set()
    await sending.stream(b"words")

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert len({name for name, _ in sent[0]["headers"]}) == len(sent[0]["headers"])
