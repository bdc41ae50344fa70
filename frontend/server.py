"""Uvicorn with a shutdown that answers requests in flight."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from drover import logs
from drover.memory import trim_after_load
from drover.tls.fleet import FleetCertificates
from drover.tls.reload import Reloaded
from frontend.api.in_flight import InFlightRequests
from frontend.app import build_app
from frontend.http.bounded import BoundedHttp
from frontend.http.connection_table import ConnectionTable
from frontend.http.limits import ConnectionLimits, usable_connections
from frontend.http.listening import last_connections
from frontend.http.tls import TlsServer, server_context
from frontend.middleware.client_id import Clients
from frontend.routing.fleet import Fleet
from frontend.settings import FrontendSettings

if TYPE_CHECKING:
    from drover.tracing.tracing import Tracing

_log = logging.getLogger("drover.frontend")
BACKLOG = 2048
_FINAL_ERRORS_SECONDS = 5
# After new connections are refused: requests that were sent on open ones still arrive.
_ARRIVAL_SECONDS = 1.0
_POLL_SECONDS = 0.05
# For idle connections. Clients and proxies (Go 90 s, nginx 60 s, aiohttp 15 s) close theirs sooner, so that
# none sends a request while this side closes: aiohttp and nginx do not retry such a POST.
_KEEP_ALIVE_SECONDS = 120


class FrontendServer(uvicorn.Server):
    """Shutdown: on the signal the server is not ready; it refuses new connections and answers the requests
    that were sent on open ones. After the drain timeout, requests in flight end with the protocol's error,
    not with a closed connection.

    Raises ValueError if there are certificates and they cannot be used.
    """

    def __init__(
        self,
        settings: FrontendSettings,
        fleet: Fleet,
        tracing: Tracing | None = None,
        fleet_certificates: Reloaded[FleetCertificates] | None = None,
    ) -> None:
        self._in_flight = InFlightRequests(settings)
        self._grace_seconds = settings.shutdown_grace_seconds
        limits = _limits_of(settings)
        clients = Clients(settings.trusted_proxies)
        connections = ConnectionTable(limits.max_connections, limits.max_per_address, clients.is_proxy)
        http: Callable[..., asyncio.Protocol] = partial(BoundedHttp, limits, connections)
        self._certificates: list[Reloaded[Any]] = [] if fleet_certificates is None else [fleet_certificates]
        if settings.tls is not None:
            contexts = Reloaded(settings.tls, "server", server_context, "https")
            self._certificates.append(contexts)
            http = TlsServer(contexts, http)
        super().__init__(
            uvicorn.Config(
                build_app(settings, fleet, self._in_flight, connections, tracing, self._certificate_expires),
                loop="uvloop",
                http=cast("type[asyncio.Protocol]", http),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                # `--trusted-proxies` alone says whose X-Forwarded-For counts (middleware/client_id.py);
                # uvicorn would believe any process of this machine.
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(self._grace_seconds) + _FINAL_ERRORS_SECONDS,
                lifespan="on",
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._in_flight.draining = True
        super().handle_exit(sig, frame)

    def _certificate_expires(self) -> float | None:
        """When the first one of its certificates expires; None without any."""
        return min((each.expires_unix for each in self._certificates), default=None)

    async def main_loop(self) -> None:
        keepers = [asyncio.create_task(trim_after_load(self._in_flight.__len__), name="trim memory")]
        for certificates in self._certificates:
            keepers.append(asyncio.create_task(certificates.watch(), name="watch certificates"))
        try:
            await super().main_loop()
        finally:
            for keeper in keepers:
                keeper.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._in_flight.draining = True
        ender = asyncio.create_task(self._abort_after_drain_timeout(), name="abort after the drain timeout")
        try:
            await self._refuse_connections(sockets or [])
            await self._await_sent_requests()
            await super().shutdown(sockets)
        finally:
            ender.cancel()

    async def _refuse_connections(self, listeners: list[socket.socket]) -> None:
        """Accept the connections that clients see as established: closing the listener would reset them."""
        established = await last_connections(listeners)
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        for connection in established:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        protocol = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def _await_sent_requests(self) -> None:
        """Wait for requests that were sent on open connections: uvicorn closes idle ones at once, which looks
        like a crash to clients. Responses have `connection: close`, so that clients reconnect elsewhere.
        """
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedHttp):
                connection.drain()
        deadline = time.monotonic() + min(_ARRIVAL_SECONDS, self._grace_seconds)
        while self._has_connections and time.monotonic() < deadline:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(_POLL_SECONDS)

    @property
    def _has_connections(self) -> bool:
        return bool(self.server_state.connections) and not self.force_exit

    async def _abort_after_drain_timeout(self) -> None:
        await asyncio.sleep(self._grace_seconds)
        if count := self._in_flight.abort_all():
            logs.event(_log, logging.WARNING, "drain timeout reached", ended_requests=count)


def _limits_of(settings: FrontendSettings) -> ConnectionLimits:
    most = usable_connections(settings.max_connections)
    return ConnectionLimits(
        max_connections=most,
        max_per_address=min(settings.max_connections_per_address, most),
        header_bytes=settings.max_header_bytes,
        header_seconds=settings.header_timeout_seconds,
        write_seconds=settings.write_timeout_seconds,
    )
