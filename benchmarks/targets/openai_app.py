"""A stub of an OpenAI server that streams numbered tokens, as cheap as uvicorn lets it be: no framework, and
all but the token of a chunk is encoded once.

`python -m benchmarks.targets.openai_app PORT STEP_MS TOKENS`
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import uvicorn

from benchmarks.client.numbered import token
from benchmarks.targets.steps import Steps

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_MODELS = {"object": "list", "data": [{"id": "sim", "object": "model", "owned_by": "sglang"}]}
_KNOWN: Mapping[str, object] = {
    "/health": {"status": "ok"},
    "/v1/models": _MODELS,
    "/get_model_info": {"model_path": "sim", "is_generation": True},
    "/model_info": {"model_path": "sim", "is_generation": True},
    "/get_server_info": {"served_model_name": "sim"},
    "/server_info": {"served_model_name": "sim"},
}


def _chunk(delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "sim",
        "choices": [choice],
    }
    return b"data: " + json.dumps(value).encode() + b"\n\n"


class App:
    """An ASGI application."""

    def __init__(self, step_ms: float, tokens: int) -> None:
        self._step_ms = step_ms
        self._chunks = [_chunk({"content": token(number)}) for number in range(tokens)]
        self._steps: Steps | None = None

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["path"] == "/v1/chat/completions":
            await self._stream(send)
        else:
            await self._answer(_KNOWN.get(scope["path"]), send)

    async def _live(self, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        self._steps = Steps(self._step_ms / 1000)
        source = asyncio.create_task(self._steps.run())
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        source.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, value: object, send: Send) -> None:
        body = json.dumps(value).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        status = 404 if value is None else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, send: Send) -> None:
        assert self._steps is not None
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        event, begun, given = asyncio.Event(), self._steps.done, 0
        self._steps.events.add(event)
        try:
            while given < len(self._chunks):
                await event.wait()
                event.clear()
                due = min(self._steps.done - begun, len(self._chunks))
                body = b"".join(self._chunks[given:due])
                given = due
                await send({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            self._steps.events.discard(event)
        body = _chunk({}, "length") + b"data: [DONE]\n\n"
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    _port, _step_ms, _tokens = sys.argv[1:]
    uvicorn.run(
        App(float(_step_ms), int(_tokens)),
        host="127.0.0.1",
        port=int(_port),
        loop="uvloop",
        http="httptools",
        log_level="warning",
    )
