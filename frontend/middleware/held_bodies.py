"""Bounds the memory that the bodies of all in-flight requests take together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from drover.errors import QueueFull
from frontend.observability.request_record import record_of

# Bytes of each body that do not count: small requests are served while large ones use up the limit.
FREE_BYTES = 64 * 1024
_STATE_KEY = "drover.held_body"


class HeldBodies:
    """At most `limit` bytes, and at most half of them for one address, unless it `is_proxy`."""

    def __init__(self, limit: int, is_proxy: Callable[[str], bool]) -> None:
        self._limit = limit
        self._is_proxy = is_proxy
        self._by_address: Counter[str] = Counter()
        self._held = 0

    @property
    def held(self) -> int:
        return self._held

    def take(self, address: str, more: int) -> None:
        """Reserve `more` bytes. Raises QueueFull."""
        of_address = self._by_address[address] + more
        if self._held + more > self._limit:
            raise QueueFull(
                "server busy, please try again.  the bodies of the requests in flight have "
                f"{self._held} of {self._limit} bytes"
            )
        if of_address > self._limit // 2 and not self._is_proxy(address):
            raise QueueFull(
                "server busy, please try again.  the bodies of the requests in flight from your address "
                f"have {of_address - more} of {self._limit // 2} bytes"
            )
        self._by_address[address] = of_address
        self._held += more

    def give_back(self, address: str, bytes_held: int) -> None:
        self._held -= bytes_held
        self._by_address[address] -= bytes_held
        if not self._by_address[address]:
            del self._by_address[address]


class HeldBody:
    """One request's share of the limit, until the request ends."""

    __slots__ = ("_address", "_bodies", "_length", "_taken")

    def __init__(self, bodies: HeldBodies, address: str) -> None:
        self._bodies = bodies
        self._address = address
        self._length = 0
        self._taken = 0

    @property
    def length(self) -> int:
        """Bytes read so far."""
        return self._length

    def grow(self, more: int) -> None:
        """Count `more` bytes. Raises QueueFull."""
        due = self._length + more - FREE_BYTES - self._taken
        if due > 0:
            self._bodies.take(self._address, due)
            self._taken += due
        self._length += more

    def move(self) -> HeldBody:
        """The share as that of work which outlasts this request, and releases it."""
        moved = HeldBody(self._bodies, self._address)
        moved._length, moved._taken, self._taken = self._length, self._taken, 0
        return moved

    def release(self) -> None:
        if self._taken:
            self._bodies.give_back(self._address, self._taken)
            self._taken = 0


class WithHeldBodies:
    """ASGI middleware: gives each request its HeldBody."""

    def __init__(self, app: ASGIApp, bodies: HeldBodies) -> None:
        self._app = app
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = HeldBody(self._bodies, record_of(scope).address)
        scope["state"][_STATE_KEY] = body
        try:
            await self._app(scope, receive, send)
        finally:
            body.release()


def held_body_of(scope: Scope) -> HeldBody:
    return cast(HeldBody, scope["state"][_STATE_KEY])
