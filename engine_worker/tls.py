"""A worker's side of mutual TLS: its certificate, and who may call what."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health

from drover.tls.files import Pem
from drover.tls.fleet import FleetCertificates
from drover.tls.refusals import Refusals
from drover.tls.reload import Reloaded

_log = logging.getLogger("drover.worker")
# A probe has the worker's own certificate.
_OPEN_TO_THE_FLEET = f"/{health.SERVICE_NAME}/"
_NAMES = "x509_subject_alternative_name"
_TRANSPORT, _TLS = "transport_security_type", b"ssl"

# Of all kinds of calls: with a message or an iterator of them.
Behaviour: TypeAlias = "Callable[[Any, Any], Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# By whether requests and responses are streams.
_KINDS: Mapping[tuple[bool, bool], tuple[str, Callable[..., Handler]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


def server_credentials(certificates: Reloaded[FleetCertificates]) -> grpc.ServerCredentials:
    """Demand a certificate of the authority from every client, and present the newest own one."""
    given = certificates.version

    def changed() -> grpc.ServerCertificateConfiguration | None:
        """Called for each handshake, in a thread of gRPC's and by one at a time; None: as before."""
        nonlocal given
        version = certificates.version
        if version == given:
            return None
        given = version
        return _configuration(certificates.current.pem)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(certificates.current.pem),
        changed,  # type: ignore[arg-type]  # the stubs lack its None
        require_client_authentication=True,
    )


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.authority)


class FrontendsOnly(grpc.aio.ServerInterceptor):
    """Refuses calls of clients whose certificate has none of `names`, but for health checks."""

    def __init__(self, names: Sequence[str], setting: str) -> None:
        self._names = frozenset(name.encode() for name in names)
        self._expected = " or ".join(names)
        self._setting = setting
        self._refusals = Refusals(_log, logging.WARNING, "client refused: it is no frontend")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_OPEN_TO_THE_FLEET):
            return handler
        name, make = _KINDS[handler.request_streaming, handler.response_streaming]
        return make(
            self._checked(getattr(handler, name)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _checked(self, behaviour: Behaviour) -> Behaviour:
        async def call(request: Any, context: Any) -> Any:  # noqa: ANN401 - see Behaviour
            await self._check(context)
            return await behaviour(request, context)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - see Behaviour
            await self._check(context)
            async for message in behaviour(request, context):
                yield message

        return stream if inspect.isasyncgenfunction(behaviour) else call

    async def _check(self, context: Any) -> None:  # noqa: ANN401 - see Behaviour
        identity = context.auth_context()
        if _TLS not in identity.get(_TRANSPORT, ()):
            # The host's socket: the only other one demands TLS.
            return
        names = identity.get(_NAMES, ())
        if self._names.isdisjoint(names):
            own = ", ".join(name.decode(errors="replace") for name in names) or "no name"
            reason = (
                f"the client's certificate is for {own}, and not for {self._expected} "
                f"({self._setting} of the worker)"
            )
            self._refusals.add(context.peer(), reason)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)
