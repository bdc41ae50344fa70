"""A frontend's side of mutual TLS: channels to workers, and why one cannot be opened."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

import grpc

from drover.rpc import CHANNEL_OPTIONS
from drover.settings import split_address
from drover.tls.fleet import FleetCertificates
from drover.tls.own_certificate import names_of, own_certificate
from drover.tls.reload import Reloaded

ADDRESS = "address"
_SECONDS = 3.0
# OpenSSL's codes of a certificate for other names: of hosts and of addresses.
_OTHER_NAME = (62, 64)
_EXPIRED = 10


class FleetTls:
    """`worker_name`: the name that every worker's certificate has, or ADDRESS for the host of its address.

    A channel keeps the certificates that it was made with, also when it connects anew. `version` says which
    ones that are.
    """

    def __init__(self, certificates: Reloaded[FleetCertificates], worker_name: str, setting: str) -> None:
        self._certificates = certificates
        self._worker_name = "" if worker_name == ADDRESS else worker_name
        self._setting = setting

    @property
    def version(self) -> int:
        return self._certificates.version

    def channel(self, address: str) -> grpc.aio.Channel:
        pem = self._certificates.current.pem
        credentials = grpc.ssl_channel_credentials(pem.authority, pem.key, pem.certificate)
        name = [("grpc.ssl_target_name_override", self._worker_name)] if self._worker_name else []
        return grpc.aio.secure_channel(address, credentials, options=[*CHANNEL_OPTIONS, *name])

    async def explain(self, address: str) -> str:
        """Why no connection is made, in words; empty if it is not for TLS. gRPC names neither the certificate
        nor what is wrong with it, and nothing at all if the worker refuses this side's.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                await self._handshake(address, self._certificates.current.context)
        except ssl.SSLCertVerificationError as error:
            return await self._explain_certificate(address, error)
        except ssl.SSLError as error:
            return self._explain_refusal(error.reason or str(error))
        except asyncio.IncompleteReadError:
            return self._explain_refusal("not of its --fleet-tls-authority, or expired")
        except (OSError, TimeoutError):
            return ""
        return ""

    async def _handshake(self, address: str, context: ssl.SSLContext) -> None:
        """Connect as gRPC does. The worker judges this side's certificate after the handshake, and then sends
        its settings, or an alert, or closes.
        """
        reader, writer = await self._connect(address, context)
        try:
            await reader.readexactly(1)
        finally:
            writer.transport.abort()

    async def _names(self, address: str) -> Sequence[str]:
        """The names in the worker's certificate, whatever they are."""
        files = self._certificates.files
        assert files.authority is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(files.authority)
        try:
            async with asyncio.timeout(_SECONDS):
                _, writer = await self._connect(address, context)
        except (OSError, TimeoutError):
            return []
        writer.transport.abort()
        return names_of(writer.get_extra_info("peercert") or {})

    async def _connect(
        self, address: str, context: ssl.SSLContext
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = self._worker_name or _host_of(address)
        if address.startswith("unix:"):
            path = address.removeprefix("unix:")
            return await asyncio.open_unix_connection(path, ssl=context, server_hostname=name)
        host, port = split_address(address)
        return await asyncio.open_connection(host, port, ssl=context, server_hostname=name)

    async def _explain_certificate(self, address: str, error: ssl.SSLCertVerificationError) -> str:
        files = self._certificates.files
        if error.verify_code in _OTHER_NAME:
            names = await self._names(address)
            expected = self._worker_name or _host_of(address)
            return (
                f"the worker's certificate is for {', '.join(names) or 'no name'}, and not for {expected} "
                f"({self._setting})"
            )
        if error.verify_code == _EXPIRED:
            return "the worker's certificate has expired: renew it"
        return (
            f"the worker's certificate is not signed by an authority of {files.authority}: "
            f"{error.verify_message}"
        )

    def _explain_refusal(self, reason: str) -> str:
        if reason == "WRONG_VERSION_NUMBER":
            return "the worker does not use TLS: set its --fleet-tls-certificate, or none of this frontend"
        files = self._certificates.files
        try:
            own_certificate(files, "client")
        except ValueError as error:
            reason = str(error)
        return f"the worker refuses this frontend's certificate {files.certificate}: {reason}"


def _host_of(address: str) -> str:
    return "localhost" if address.startswith("unix:") else split_address(address)[0]
