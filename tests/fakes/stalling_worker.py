"""A fake backend that stalls or fails wherever a test wants it to, and records cancellations.

A response is a list of steps: events, errors to raise, `STALL`, or `forever(event)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import TypeVar

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import EventSink
from frontend.routing.backends.delivery import deliver_to


class _Stall:
    """No further event comes."""


@dataclass(frozen=True)
class Forever:
    """The same event again and again, as fast as it is taken."""

    event: pb.GenerateEvent


STALL = _Stall()
Scored = TypeVar("Scored", pb.RerankResponse, pb.ClassifyResponse)
Step = pb.GenerateEvent | DroverError | _Stall | Forever


def content(text: str) -> pb.GenerateEvent:
    return pb.GenerateEvent(deltas=[pb.Delta(content=text)])


def done() -> pb.GenerateEvent:
    return pb.GenerateEvent(done=pb.Done(finish_reason=pb.Done.STOP, prompt_tokens=1, completion_tokens=1))


def started() -> pb.GenerateEvent:
    return pb.GenerateEvent(started=pb.Started(prompt_ids=[1]))


class StallingHandle:
    """Implements frontend.routing.backends.base.RequestHandle. Once cancelled it gives nothing more."""

    def __init__(self, request: pb.GenerateRequest, client_request_id: str, steps: Sequence[Step]) -> None:
        self.request = request
        self.client_request_id = client_request_id
        self._steps = steps
        self.taken = 0
        self.stalled = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.finished = False
        self._abandoned: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def deliver(self, sink: EventSink) -> None:
        await deliver_to(self._events(), sink)

    def abandon(self, error: DroverError) -> None:
        if not self._abandoned.done():
            self._abandoned.set_exception(error)
            # Marks it as retrieved: perhaps no task waits for it.
            self._abandoned.exception()

    def cancel(self) -> None:
        self.cancelled.set()

    async def _events(self) -> AsyncGenerator[pb.GenerateEvent, None]:
        for step in self._steps:
            match step:
                case _Stall():
                    self.stalled.set()
                    await self._abandoned
                case Forever(event):
                    for again in repeat(event):
                        yield self._counted(again)
                        await asyncio.sleep(0)
                case DroverError():
                    raise step
                case _:
                    yield self._counted(step)
        self.finished = True

    def _counted(self, event: pb.GenerateEvent) -> pb.GenerateEvent:
        self.taken += 1
        return event


def default_model() -> pb.Model:
    return pb.Model(
        names=["m:latest"],
        digest="0" * 64,
        context_length=4096,
        capabilities=pb.Capabilities(completion=True),
        modified_unix_ns=1,
    )


@dataclass
class StallingWorker:
    """Implements frontend.routing.backends.base.Worker. `steps` may change between requests."""

    address: str = "fake:1"
    steps: Sequence[Step] = (STALL,)
    described: pb.Model = field(default_factory=default_model)
    verbose: pb.Model = field(default_factory=pb.Model)
    rendered: pb.RenderResponse = field(default_factory=lambda: pb.RenderResponse(text="<rendered>", ids=[1]))
    renders: list[pb.GenerateRequest] = field(default_factory=list)
    handles: list[StallingHandle] = field(default_factory=list)
    report: pb.LoadReport = field(default_factory=pb.LoadReport)
    embeddings: list[pb.EmbedRequest] = field(default_factory=list)
    embedded: pb.EmbedResponse | DroverError | None = None
    """Response to an embedding request; None: it stalls."""
    embedding_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    scores: list[pb.ScoreRequest] = field(default_factory=list)
    scored: pb.ScoreResponse | DroverError | None = None
    """Response to a request to score labels; None: it stalls."""
    score_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    reranks: list[pb.RerankRequest] = field(default_factory=list)
    reranked: pb.RerankResponse | DroverError | None = None
    """Response to a request to rerank; None: it stalls."""
    classifications: list[pb.ClassifyRequest] = field(default_factory=list)
    classified: pb.ClassifyResponse | DroverError | None = None
    """Response to a request to classify; None: it stalls."""
    scoring_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    loads: list[pb.LoadRequest] = field(default_factory=list)
    loaded: pb.LoadResponse = field(default_factory=pb.LoadResponse)
    load_stall: asyncio.Event | None = None
    """Until it is set a load stalls."""
    load_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    load_failure: DroverError | None = None
    unloads: int = 0
    refusal: DroverError | None = None
    on_submit: Callable[[], None] | None = None
    closed: bool = False
    adapters: list[list[pb.AdapterPart]] = field(default_factory=list)
    """The uploads of adapters."""
    adapter_refusal: DroverError | None = None
    deleted_adapters: list[str] = field(default_factory=list)
    is_connected: bool = True
    is_silent: bool = False
    """It sends no reports."""

    def submit(self, request: pb.GenerateRequest, client_request_id: str) -> StallingHandle:
        handle = StallingHandle(request, client_request_id, self.steps)
        self.handles.append(handle)
        if self.on_submit is not None:
            self.on_submit()
        return handle

    async def score(self, request: pb.ScoreRequest, client_request_id: str) -> pb.ScoreResponse:
        # A retry changes the id of the same message.
        self.scores.append(pb.ScoreRequest.FromString(request.SerializeToString()))
        try:
            if self.scored is None:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.score_cancelled.set()
            raise
        if isinstance(self.scored, DroverError):
            raise self.scored
        assert self.scored is not None
        return self.scored

    async def embed(self, request: pb.EmbedRequest, client_request_id: str) -> pb.EmbedResponse:
        self.embeddings.append(request)
        try:
            if self.embedded is None:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.embedding_cancelled.set()
            raise
        if isinstance(self.embedded, DroverError):
            raise self.embedded
        assert self.embedded is not None
        return self.embedded

    async def rerank(self, request: pb.RerankRequest, client_request_id: str) -> pb.RerankResponse:
        self.reranks.append(request)
        return await self._scored(self.reranked)

    async def classify(self, request: pb.ClassifyRequest, client_request_id: str) -> pb.ClassifyResponse:
        self.classifications.append(request)
        return await self._scored(self.classified)

    async def _scored(self, response: Scored | DroverError | None) -> Scored:
        try:
            if response is None:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.scoring_cancelled.set()
            raise
        if isinstance(response, DroverError):
            raise response
        assert response is not None
        return response

    async def tokenize(self, request: pb.TokenizeRequest) -> pb.TokenizeResponse:
        """A token for each byte."""
        return pb.TokenizeResponse(ids=request.text.encode())

    async def detokenize(self, request: pb.DetokenizeRequest) -> pb.DetokenizeResponse:
        return pb.DetokenizeResponse(text=bytes(request.ids).decode())

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        self._may_refuse()
        self.renders.append(request)
        return self.rendered

    async def load(self, request: pb.LoadRequest) -> pb.LoadResponse:
        self._may_refuse()
        if self.load_failure is not None:
            raise self.load_failure
        self.loads.append(request)
        try:
            if self.load_stall is not None:
                await self.load_stall.wait()
        except asyncio.CancelledError:
            self.load_cancelled.set()
            raise
        return self.loaded

    async def unload(self) -> pb.UnloadResponse:
        self._may_refuse()
        self.unloads += 1
        return pb.UnloadResponse(loaded=True)

    async def model(self, timeout_seconds: float, verbose: bool = False) -> pb.Model:
        self._may_refuse()
        return self.verbose if verbose else self.described

    async def watch_load(self, interval_seconds: float) -> AsyncGenerator[pb.LoadReport, None]:
        while True:
            self._may_refuse()
            if not self.is_silent:
                yield self.report
            await asyncio.sleep(0.02)

    async def put_adapter(self, parts: AsyncIterator[pb.AdapterPart]) -> pb.PutAdapterResponse:
        """Reads all parts."""
        received = [part async for part in parts]
        self.adapters.append(received)
        if self.adapter_refusal is not None:
            raise self.adapter_refusal
        return pb.PutAdapterResponse(rank=1)

    async def delete_adapter(self, digest: str) -> None:
        self._may_refuse()
        self.deleted_adapters.append(digest)

    async def close(self) -> None:
        self.closed = True

    def _may_refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal
