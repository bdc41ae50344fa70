"""Interface to a worker, in terms of requests. How they map to RPCs is each backend's own business."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Protocol, runtime_checkable

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb

EventSink = Callable[[pb.GenerateEvent], Awaitable[object] | None]
"""Consumer of events. While an awaitable that it returned is not done, it is given no other event."""


@runtime_checkable
class TokenSink(Protocol):
    """An EventSink that is given plain tokens without an event around them, for the hot path."""

    def __call__(self, event: pb.GenerateEvent) -> Awaitable[object] | None: ...

    def token(self, text: str, token_id: int, completion_tokens: int) -> Awaitable[object] | None:
        """One token with its text, which is not empty. Returns as for an event."""


def token_event(text: str, token_id: int, completion_tokens: int) -> pb.GenerateEvent:
    event = pb.GenerateEvent()
    event.deltas.add(content=text, token_ids=(token_id,), completion_tokens=completion_tokens)
    return event


class RequestHandle(Protocol):
    """A request in flight. Its submitter owns it and calls `cancel` in the end."""

    async def deliver(self, sink: EventSink) -> None:
        """Pass all events to `sink`, which may be called from any task and must not block. Raises error types
        of drover/errors.py only, and what `sink` raises.
        """

    def cancel(self) -> None:
        """Free the worker's slot if the request is not complete. Never blocks; safe to call twice."""


class Abandonable(Protocol):
    """Work in flight at a worker that may be lost."""

    def abandon(self, error: DroverError) -> None:
        """End the wait for it with `error`: the worker will not respond. The first error counts."""


class WorkerHandle(RequestHandle, Abandonable, Protocol):
    """A request in flight at a worker."""


class Worker(Protocol):
    @property
    def address(self) -> str: ...

    @property
    def is_connected(self) -> bool:
        """Whether its transport responds. If it does and no report comes, the process has stopped."""

    def submit(self, request: pb.GenerateRequest, client_request_id: str) -> WorkerHandle:
        """Send the request. The handle raises its failures. `request_id` must be new."""

    async def embed(self, request: pb.EmbedRequest, client_request_id: str) -> pb.EmbedResponse:
        """Cancelling the caller frees the worker's slot. `request_id` must be new."""

    async def score(self, request: pb.ScoreRequest, client_request_id: str) -> pb.ScoreResponse:
        """Cancelling the caller frees the worker's slot. `request_id` must be new."""

    async def rerank(self, request: pb.RerankRequest, client_request_id: str) -> pb.RerankResponse:
        """As `embed`."""

    async def classify(self, request: pb.ClassifyRequest, client_request_id: str) -> pb.ClassifyResponse:
        """As `embed`."""

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        """May have to load the model first, and then takes as long as `load`."""

    async def tokenize(self, request: pb.TokenizeRequest) -> pb.TokenizeResponse:
        """May have to load the model first, as may `detokenize`."""

    async def detokenize(self, request: pb.DetokenizeRequest) -> pb.DetokenizeResponse: ...

    async def load(self, request: pb.LoadRequest) -> pb.LoadResponse:
        """Limited by the worker's `--load-timeout-seconds`, the caller's deadline, and the connection's
        keepalive if the worker is lost.
        """

    async def unload(self) -> pb.UnloadResponse: ...

    async def model(self, timeout_seconds: float, verbose: bool = False) -> pb.Model:
        """The model that it serves. `verbose`: with the long lists in its model_info."""

    def watch_load(self, interval_seconds: float) -> AsyncGenerator[pb.LoadReport, None]:
        """Yield load reports until the worker is lost; then raise an error of drover/errors.py."""

    async def put_adapter(self, parts: AsyncIterator[pb.AdapterPart]) -> pb.PutAdapterResponse:
        """Give the worker an adapter. Raises InvalidRequest if it does not fit the model."""

    async def delete_adapter(self, digest: str) -> None: ...

    async def close(self) -> None: ...
