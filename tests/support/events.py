"""The events of an engine in this process, without gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.base import Engine
from engine_worker.generations import until_over
from engine_worker.output.mailbox import Mailbox


async def events_of(engine: Engine, request: pb.GenerateRequest) -> AsyncGenerator[pb.GenerateEvent, None]:
    """Closing it cancels the request."""
    mailbox = Mailbox()

    async def generate() -> None:
        try:
            await engine.generate(request, mailbox)
        except DroverError as error:
            mailbox.fail(error)

    async with until_over(generate(), mailbox):
        while not mailbox.is_over:
            yield await mailbox.take()
