"""Live updates: computed once a second for all viewers, and once for each role.

A viewer gets the whole state with its history first, then all sections, then those that changed. One that has
not taken an update when the next one comes gets all sections in its place; one that misses too many is
dropped, and its browser connects again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import orjson

from drover.errors import QueueFull
from drover.json_value import Json
from frontend.access.console_session import Session
from frontend.api.wire import frame
from frontend.console.view import View

_MAX_MISSED = 15
# One key has a quarter of the places, so that others find one.
_OF_ONE_KEY = 4

Sections = Mapping[str, bytes]
"""Each section of the state as JSON."""


class Viewer:
    """One open stream. `view`: what it may see; `session`: None without a login."""

    def __init__(self, view: View, session: Session | None) -> None:
        self.view = view
        self.session = session
        self._first = self._pending = b""
        self._is_new = True
        self._changed = asyncio.Event()
        self._missed = 0
        self.is_closed = False

    def offer(self, sections: Sections, changed: Sections) -> None:
        """Give it the changed sections; all of them where it has missed some, and at first: since the state
        that it began with, a section may have changed back.
        """
        self._missed += bool(self._pending)
        needs_all = self._is_new or bool(self._pending)
        self._pending = _event(b"update", sections if needs_all else changed)
        self._is_new = False
        if self._missed > _MAX_MISSED:
            self.close()
        self._changed.set()

    def start(self, first: bytes) -> None:
        self._first = first
        self._changed.set()

    def close(self) -> None:
        self.is_closed = True
        self._changed.set()

    async def next(self) -> bytes:
        """What it has not taken yet; empty when it is closed."""
        await self._changed.wait()
        if self.is_closed:
            return b""
        self._changed.clear()
        events, self._first, self._pending, self._missed = self._first + self._pending, b"", b"", 0
        return events


class Viewers:
    """`limit`: of open streams."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._viewers: set[Viewer] = set()
        self._last: dict[str, Sections] = {}
        self.is_ended = False

    def __len__(self) -> int:
        return len(self._viewers)

    def views(self) -> Iterator[View]:
        """What those who look see, each once."""
        return iter({viewer.view.id: viewer.view for viewer in self._viewers}.values())

    @contextmanager
    def join(self, view: View, session: Session | None = None) -> Iterator[Viewer]:
        """A viewer, until the block ends. Raises QueueFull."""
        if self.is_ended:
            raise QueueFull("this frontend is shutting down")
        if len(self._viewers) >= self._limit:
            raise QueueFull(
                f"the console of this frontend is open {len(self._viewers)} times, which is its limit; close "
                "one, or open that of another frontend"
            )
        most = max(1, self._limit // _OF_ONE_KEY)
        if view.key is not None and sum(each.view.id == view.id for each in self._viewers) >= most:
            raise QueueFull(
                f"the console of this frontend is open {most} times with this key, its limit; close one"
            )
        viewer = Viewer(view, session)
        self._viewers.add(viewer)
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    def publish(self, view: View, state: Mapping[str, Json]) -> None:
        """Send a view's state to all who have it."""
        sections = encoded(state)
        last = self._last.get(view.id, {})
        changed = {name: data for name, data in sections.items() if last.get(name) != data}
        self._last[view.id] = sections
        for viewer in self._viewers:
            if viewer.view.id == view.id:
                viewer.offer(sections, changed)

    def close_unless(self, is_allowed: Callable[[Viewer], bool]) -> None:
        """Close the streams that are not allowed any more."""
        for viewer in self._viewers:
            if not is_allowed(viewer):
                viewer.close()

    def forget_absent(self) -> None:
        """Drop the last state of views that no open stream has."""
        present = {viewer.view.id for viewer in self._viewers}
        self._last = {name: sections for name, sections in self._last.items() if name in present}

    def end(self) -> None:
        """Close all streams, and let none join: the server drains."""
        self.is_ended = True
        for viewer in self._viewers:
            viewer.close()


def encoded(state: Mapping[str, Json]) -> Sections:
    return {name: orjson.dumps(section) for name, section in state.items()}


def first_event(state: Mapping[str, Json]) -> bytes:
    """The whole state, for a stream that begins."""
    return _event(b"state", encoded(state))


def _event(kind: bytes, sections: Sections) -> bytes:
    parts = (b'"%b":%b' % (name.encode(), data) for name, data in sections.items())
    return frame(b"{%b}" % b",".join(parts), kind)
