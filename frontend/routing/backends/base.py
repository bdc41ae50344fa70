"""What the frontend knows of a worker: requests, not RPCs. One call may carry a request, or all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, runtime_checkable

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb

Take = Callable[[pb.GenerateEvent], Awaitable[object] | None]
"""Takes an event, at once or as soon as what it returns is over; until then it gets no other."""


@runtime_checkable
class TokenTake(Protocol):
    """A Take that gets tokens as they are: the hot path makes no event of them."""

    def __call__(self, event: pb.GenerateEvent) -> Awaitable[object] | None: ...

    def token(self, text: str, token_id: int, completion_tokens: int) -> Awaitable[object] | None:
        """One token of the answer with its text, which is not empty. As for an event."""


def token_event(text: str, token_id: int, completion_tokens: int) -> pb.GenerateEvent:
    event = pb.GenerateEvent()
    event.deltas.add(content=text, token_ids=(token_id,), completion_tokens=completion_tokens)
    return event


class RequestHandle(Protocol):
    """One request. Its owner is who submitted it, and calls `cancel` in the end."""

    async def deliver(self, take: Take) -> None:
        """Hands its events on until its end. `take` may be called from any task, and runs short. Raises
        DroverError leaves only, and what `take` raises.
        """

    def cancel(self) -> None:
        """Frees the worker's slot if the request is not over yet. Never blocks; safe to call twice."""


class Abandonable(Protocol):
    """What a worker has to do, and may not live to do."""

    def abandon(self, error: DroverError) -> None:
        """Ends the wait for it with `error`: the worker will not answer any more. The first error counts."""


class WorkerHandle(RequestHandle, Abandonable, Protocol):
    """One request at one worker."""


class Worker(Protocol):
    @property
    def address(self) -> str: ...

    @property
    def is_connected(self) -> bool:
        """Whether its transport answers: a worker that is silent all the same has stopped by itself."""

    def submit(self, request: pb.GenerateRequest, client_request_id: str) -> WorkerHandle:
        """Sends the request. Failures come out of the handle. `request_id` must be new."""

    async def embed(self, request: pb.EmbedRequest, client_request_id: str) -> pb.EmbedResponse:
        """Cancelling the caller frees what the request holds at the worker. `request_id` must be new."""

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        """May bring the model in first: as long as `load`."""

    async def tokenize(self, request: pb.TokenizeRequest) -> pb.TokenizeResponse:
        """May bring the model in first, as may `detokenize`."""

    async def detokenize(self, request: pb.DetokenizeRequest) -> pb.DetokenizeResponse: ...

    async def load(self, request: pb.LoadRequest) -> pb.LoadResponse:
        """Takes as long as the worker lets a load take (`--load-timeout-seconds`). The caller's deadline,
        and the connection's when the worker is gone, are the others.
        """

    async def unload(self) -> pb.UnloadResponse: ...

    async def model(self, timeout_seconds: float, verbose: bool = False) -> pb.Model:
        """`verbose`: its model_info with the long lists."""

    def watch_load(self, interval_seconds: float) -> AsyncGenerator[pb.LoadReport, None]:
        """Reports until the worker leaves; then raises a leaf."""

    async def close(self) -> None: ...
