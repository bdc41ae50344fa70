"""A request goes each way once, over at most so many servers, whatever a client makes of the header."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from drover.errors import WorkerUnreachable
from frontend.routing.backends.ollama.trail import HEADER, Way, WithTrail


async def _sent(way: Way, came_with: str = "") -> str:
    """What a request is sent on with that came with this trail."""
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sent.append(way.headers()[HEADER])

    async def receive() -> Message:
        return {}

    async def drop(message: Message) -> None: ...

    scope = {"type": "http", "headers": [(HEADER.encode(), came_with.encode("latin-1"))] if came_with else []}
    await WithTrail(app)(scope, receive, drop)
    return sent[0]


async def test_each_way_adds_its_mark() -> None:
    near, far = Way(), Way()
    first = await _sent(near)
    assert (await _sent(far, first)).startswith(f"{first},")
    assert await _sent(near) == first, "the next request begins anew"


async def test_no_way_is_gone_twice() -> None:
    near, far = Way(), Way()
    with pytest.raises(WorkerUnreachable, match="name each other"):
        await _sent(near, await _sent(far, await _sent(near)))


async def test_no_request_goes_far() -> None:
    trail = ""
    for _ in range(8):
        trail = await _sent(Way(), trail)
    with pytest.raises(WorkerUnreachable):
        await _sent(Way(), trail)


@pytest.mark.parametrize("made_up", ["nonsense", "\r\nx: y", "é", ",".join(["0123456789abcdef"] * 9), ","])
async def test_what_is_no_trail_means_nothing(made_up: str) -> None:
    assert len(await _sent(Way(), made_up)) == 16
