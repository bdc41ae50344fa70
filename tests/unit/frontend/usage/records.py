"""Records of requests that have ended."""

from __future__ import annotations

import asyncio

from starlette.types import Message

from drover.v1 import engine_pb2 as pb
from frontend.access.key import Key
from frontend.observability.request_record import RequestRecord

ALICE = Key("k1", "alice")


async def _send(message: Message) -> None:
    await asyncio.sleep(0)


def ended(
    model: str = "m:latest",
    key: Key | None = None,
    prompt: int = 5,
    cached: int = 2,
    generated: int = 3,
    **more: object,
) -> RequestRecord:
    done = pb.Done(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=generated)
    record = RequestRecord("r", _send, key=key, model=model, served=model, done=done)
    for name, value in more.items():
        setattr(record, name, value)
    return record
