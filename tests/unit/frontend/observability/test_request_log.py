"""What a request leaves behind in the process."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from starlette.types import Message, Receive, Scope, Send

from frontend.middleware.client_id import Clients
from frontend.middleware.request_log import RequestLog
from tests.unit.frontend.middleware.asgi_client import scope_of


class Cycle:
    """As a server's object of a request: it has the scope and gives its own method to the application."""

    def __init__(self) -> None:
        self.scope = scope_of()

    async def send(self, message: Message) -> None:
        pass

    async def receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a"})


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("no")


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
async def test_an_answered_request_is_freed_without_the_collector() -> None:
    cycle = Cycle()
    gone = weakref.ref(cycle)

    await RequestLog(_answer, Clients([]))(cycle.scope, cycle.receive, cycle.send)
    del cycle

    assert gone() is None


@pytest.mark.usefixtures("_no_collector")
async def test_a_failed_request_is_freed_without_the_collector() -> None:
    cycle = Cycle()
    gone = weakref.ref(cycle)

    with pytest.raises(ValueError, match="no"):
        await RequestLog(_fail, Clients([]))(cycle.scope, cycle.receive, cycle.send)
    del cycle

    assert gone() is None
