"""Uvicorn with an end that clients understand."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import cast

import uvicorn

from drover import logs
from frontend.api.in_flight import InFlightRequests
from frontend.app import build_app
from frontend.http.bounded import BoundedHttp
from frontend.http.connection_table import ConnectionTable
from frontend.http.limits import ConnectionLimits, usable_connections
from frontend.http.listening import last_connections
from frontend.memory import trim_after_load
from frontend.middleware.client_id import Clients
from frontend.routing.fleet import Fleet
from frontend.settings import FrontendSettings

_log = logging.getLogger("drover.frontend")
BACKLOG = 2048
_LAST_WORDS_SECONDS = 5
# Of open connections, after no new ones are taken: requests that had been sent by then arrive.
_ON_THE_WAY_SECONDS = 1.0
_POLL_SECONDS = 0.05
# Of an idle connection. Clients and proxies (Go 90 s, nginx 60 s, aiohttp 15 s) close theirs sooner, so that
# none sends a request while this side closes: aiohttp and nginx do not repeat a POST that is lost so.
_KEEP_ALIVE_SECONDS = 120


class FrontendServer(uvicorn.Server):
    """Its end: not ready at the signal; no new connections; what had been sent on open ones is answered.
    After the grace, open answers end with the protocol's error, not with a cut connection.
    """

    def __init__(self, settings: FrontendSettings, fleet: Fleet) -> None:
        self._in_flight = InFlightRequests(settings)
        self._grace_seconds = settings.shutdown_grace_seconds
        limits = _limits_of(settings)
        clients = Clients(settings.trusted_proxies)
        connections = ConnectionTable(limits.max_connections, limits.max_per_address, clients.is_proxy)
        super().__init__(
            uvicorn.Config(
                build_app(settings, fleet, self._in_flight, connections),
                loop="uvloop",
                http=cast("type[asyncio.Protocol]", partial(BoundedHttp, limits, connections)),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                # `--trusted-proxies` alone says whose X-Forwarded-For counts (middleware/client_id.py);
                # uvicorn would believe any process of this machine.
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(self._grace_seconds) + _LAST_WORDS_SECONDS,
                lifespan="on",
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._in_flight.draining = True
        super().handle_exit(sig, frame)

    async def main_loop(self) -> None:
        keeper = asyncio.create_task(trim_after_load(self._in_flight.__len__), name="trim memory")
        try:
            await super().main_loop()
        finally:
            keeper.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._in_flight.draining = True
        ender = asyncio.create_task(self._abort_after_grace(), name="end answers after the grace")
        try:
            await self._refuse_connections(sockets or [])
            await self._answer_what_is_on_the_way()
            await super().shutdown(sockets)
        finally:
            ender.cancel()

    async def _refuse_connections(self, listeners: list[socket.socket]) -> None:
        """Take what clients see as made, though it was not accepted yet: closing would reset it."""
        made = await last_connections(listeners)
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        for connection in made:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        protocol = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def _answer_what_is_on_the_way(self) -> None:
        """Uvicorn closes idle connections at once, also those whose request is about to be read: to a client
        that looks like a crash. Answers say that their connection ends, so that clients go elsewhere.
        """
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        deadline = time.monotonic() + min(_ON_THE_WAY_SECONDS, self._grace_seconds)
        while self._is_waited_for and time.monotonic() < deadline:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(_POLL_SECONDS)

    @property
    def _is_waited_for(self) -> bool:
        return bool(self.server_state.connections) and not self.force_exit

    async def _abort_after_grace(self) -> None:
        await asyncio.sleep(self._grace_seconds)
        if count := self._in_flight.abort_all():
            logs.event(_log, logging.WARNING, "grace is over", ended_requests=count)


def _limits_of(settings: FrontendSettings) -> ConnectionLimits:
    most = usable_connections(settings.max_connections)
    return ConnectionLimits(
        max_connections=most,
        max_per_address=min(settings.max_connections_per_address, most),
        header_bytes=settings.max_header_bytes,
        header_seconds=settings.header_timeout_seconds,
        write_seconds=settings.write_timeout_seconds,
    )
