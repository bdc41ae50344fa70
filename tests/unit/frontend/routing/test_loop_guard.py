"""A request takes each hop once and a limited number of hops, whatever header a client sends."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from drover.errors import WorkerUnreachable
from frontend.routing.backends.ollama.loop_guard import HEADER, Hop, LoopGuard


async def _sent(hop: Hop, came_with: str = "") -> str:
    """The header of a request that arrived with this trail and takes the hop."""
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sent.append(hop.headers()[HEADER])

    async def receive() -> Message:
        return {}

    async def drop(message: Message) -> None: ...

    scope = {"type": "http", "headers": [(HEADER.encode(), came_with.encode("latin-1"))] if came_with else []}
    await LoopGuard(app)(scope, receive, drop)
    return sent[0]


async def test_each_hop_adds_its_mark() -> None:
    near, far = Hop(), Hop()
    first = await _sent(near)
    assert (await _sent(far, first)).startswith(f"{first},")
    assert await _sent(near) == first, "the next request begins anew"


async def test_no_hop_is_taken_twice() -> None:
    near, far = Hop(), Hop()
    with pytest.raises(WorkerUnreachable, match="name each other"):
        await _sent(near, await _sent(far, await _sent(near)))


async def test_the_number_of_hops_is_limited() -> None:
    trail = ""
    for _ in range(8):
        trail = await _sent(Hop(), trail)
    with pytest.raises(WorkerUnreachable):
        await _sent(Hop(), trail)


@pytest.mark.parametrize("made_up", ["nonsense", "\r\nx: y", "é", ",".join(["0123456789abcdef"] * 9), ","])
async def test_an_invalid_header_is_ignored(made_up: str) -> None:
    assert len(await _sent(Hop(), made_up)) == 16
