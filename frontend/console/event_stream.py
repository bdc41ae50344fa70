"""The response with live updates, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from frontend.access.console_session import Session
from frontend.api.wire import CONTENT_TYPE
from frontend.console.console import Console
from frontend.console.page_files import NOT_STORED
from frontend.console.view import View
from frontend.console.viewers import Viewer, first_event

# A proxy such as nginx would hold the events back otherwise.
_HEADERS = NOT_STORED | {"x-accel-buffering": "no"}


class EventStream(Response):
    """The whole state, then its changes, until the client leaves or the server drains. Raises QueueFull."""

    def __init__(self, console: Console, view: View, session: Session | None) -> None:
        super().__init__()
        self._console = console
        self._view = view
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._console.viewers.join(self._view, self._session) as viewer:
            viewer.start(first_event(self._console.state(self._view)))
            response = StreamingResponse(_events(viewer), headers=_HEADERS, media_type=CONTENT_TYPE.decode())
            await response(scope, receive, send)


async def _events(viewer: Viewer) -> AsyncGenerator[bytes, None]:
    while event := await viewer.next():
        yield event
