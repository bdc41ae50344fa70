"""Run a generating request: check it, count it, keep the model loaded, log it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager

from drover.errors import ClientLeft, DroverError, InvalidRequest, internal_error
from drover.v1 import engine_pb2 as pb
from engine_worker.adapter_host import AdapterHost, in_use
from engine_worker.engines.base import Engine
from engine_worker.model_lifecycle import ModelLifecycle
from engine_worker.output.mailbox import Mailbox
from engine_worker.request_log import BeginTrace, RequestLine, untraced
from engine_worker.requests import RequestTable
from engine_worker.text_work import check_length

_log = logging.getLogger("drover.worker")
KeepsAlive = (
    pb.GenerateRequest
    | pb.EmbedRequest
    | pb.ScoreRequest
    | pb.RerankRequest
    | pb.ClassifyRequest
    | pb.LoadRequest
)


class Generations:
    """Runs the requests of both generating RPCs. `check_open` raises if the worker takes no requests;
    `traces`: see service.py.
    """

    def __init__(
        self,
        engine: Engine,
        requests: RequestTable,
        lifecycle: ModelLifecycle,
        check_open: Callable[[], None],
        adapters: AdapterHost | None = None,
        traces: BeginTrace = untraced,
    ) -> None:
        self._traces = traces
        self._engine = engine
        self._requests = requests
        self._lifecycle = lifecycle
        self._check_open = check_open
        self._adapters = adapters

    async def run(self, request: pb.GenerateRequest, client_request_id: str, mailbox: Mailbox) -> None:
        """Run a request until its end, or its error, has been taken from the mailbox.

        Cancelling this frees the engine's slot; then the mailbox gets no end.
        """
        line = RequestLine(request.request_id, client_request_id, self._traces(request))
        error: DroverError | None = None
        try:
            await self._generate(request, mailbox)
        except asyncio.CancelledError:
            error = ClientLeft("cancelled")
            raise
        except DroverError as raised:
            error = raised
        except Exception as exception:  # noqa: BLE001 - the caller gets an error, not a traceback
            _log.exception("unhandled exception in a request")
            error = internal_error(exception)
        finally:
            line.add_output(mailbox)
            line.write(error)
        if error is not None:
            mailbox.fail(error)

    async def _generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        self._check(request)
        mailbox.not_honoured = self._engine.bounds.apply(request, self._engine.model())
        if request.sampling.include_stop:
            mailbox.shown_stops = [stop for stop in request.sampling.stop if stop]
        async with (
            self._requests.track(request.request_id),
            self._lifecycle.use(keep_alive_ns(request)) as load_ns,
        ):
            mailbox.load_ns = load_ns
            with in_use(self._adapters, request):
                await self._engine.generate(request, mailbox)
            # In flight until the stream has taken everything: draining waits for that.
            await mailbox.wait_over()

    def _check(self, request: pb.GenerateRequest) -> None:
        self._check_open()
        check_length(text_length(request))
        if not request.request_id:
            raise InvalidRequest("request_id is empty; make one of 32 hex digits for each attempt")
        if request.sampling.HasField("max_tokens") and request.sampling.max_tokens == 0:
            raise InvalidRequest("max_tokens is 0; leave it out for no limit")


@asynccontextmanager
async def until_over(
    running: Coroutine[object, object, None], mailbox: Mailbox
) -> AsyncGenerator[None, None]:
    """Run a request in a task while the mailbox is read; cancel it if the reader leaves before the end."""
    work = asyncio.create_task(running, name="request")
    try:
        yield
    finally:
        if not mailbox.is_over:
            work.cancel()
        await asyncio.wait({work})


def keep_alive_ns(request: KeepsAlive) -> int | None:
    return request.keep_alive_ns if request.HasField("keep_alive_ns") else None


def text_length(request: pb.GenerateRequest) -> int:
    """Size in bytes of what is rendered and tokenised, without images."""
    prompt = request.prompt
    images = [*prompt.images, *(image for message in request.chat.messages for image in message.images)]
    return request.ByteSize() - sum(len(image.data) for image in images)
