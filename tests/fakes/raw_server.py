"""A gRPC server whose calls take and return bytes, so that it can send anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from drover.rpc import SERVER_OPTIONS, SERVICE_NAME


@asynccontextmanager
async def serving_calls(
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]], service: str = SERVICE_NAME
) -> AsyncIterator[str]:
    """Its address. `handlers`: by the name of the call. `service`: the workers' one by default."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
