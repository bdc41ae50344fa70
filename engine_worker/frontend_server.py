"""The gRPC server of a worker or a host: for any client, or for the fleet's frontends only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from drover.rpc import MAX_MESSAGE_BYTES, SERVER_OPTIONS
from drover.tls.files import TlsFiles
from drover.tls.fleet import fleet_certificates
from drover.tls.reload import Reloaded
from engine_worker.tls import FrontendsOnly, server_credentials

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class CannotStart(Exception):
    """The process cannot start; the message says what is wrong and what to do."""


class FrontendServer:
    """Serves `service`, whose servicer is added to `grpc`, with its health and reflection.

    `certificates`: of mutual TLS; None: any client is served. `names`: a frontend's certificate must have one
    of them, as the setting `names_flag` says. `max_request_bytes`: of one message.

    Raises ValueError for certificates that cannot be used.
    """

    def __init__(
        self,
        service: str,
        certificates: TlsFiles | None,
        names: Sequence[str],
        names_flag: str,
        max_request_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._service = service
        self._certificates = (
            None
            if certificates is None
            else Reloaded(certificates, "server", fleet_certificates, "frontends")
        )
        only = [] if certificates is None else [FrontendsOnly(names, names_flag)]
        options = {**dict(SERVER_OPTIONS), "grpc.max_receive_message_length": max_request_bytes}
        self.grpc = grpc.aio.server(interceptors=only, options=list(options.items()))
        self.health = health_aio.HealthServicer()

    @property
    def serves_any_client(self) -> bool:
        return self._certificates is None

    @asynccontextmanager
    async def reloading(self) -> AsyncIterator[None]:
        """Read the certificates again when their files change."""
        if self._certificates is None:
            yield
            return
        watching = asyncio.create_task(self._certificates.watch(), name="watch certificates")
        try:
            yield
        finally:
            watching.cancel()

    def bind(self, address: str) -> str:
        """Returns the address with the port that it got. Raises CannotStart."""
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.grpc)
        names = [self._service, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self.grpc)
        try:
            port = self._add_port(address)
        except RuntimeError as error:
            raise CannotStart(
                f"cannot listen on {address}: is the port in use? Choose another with --listen host:port"
            ) from error
        return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"

    async def set_serving(self, is_serving: bool) -> None:
        """For health checks of the service."""
        await self.health.set(self._service, _SERVING if is_serving else _NOT_SERVING)

    def _add_port(self, address: str) -> int:
        """Raises RuntimeError if the address cannot be used."""
        if self._certificates is None:
            return self.grpc.add_insecure_port(address)
        return self.grpc.add_secure_port(address, server_credentials(self._certificates))
