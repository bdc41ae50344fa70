"""`python -m engine_worker.health HOST:PORT`: status 0 when the worker there is ready (probes of containers),
else 1 and the reason on standard error.

It asks grpc.health.v1 for the service drover.v1.Engine, which is not serving while the model loads or the
worker drains. Where the worker's own settings name certificates, it shows the worker's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from drover.rpc import CHANNEL_OPTIONS, SERVICE_NAME
from drover.tls.files import TlsFiles, pem_of
from drover.tls.own_certificate import own_certificate


def is_serving(
    address: str, service: str = SERVICE_NAME, seconds: float = 1.0, tls: TlsFiles | None = None
) -> bool:
    """`tls`: the worker's own certificate, of whatever name."""
    return not problem(address, service, seconds, tls)


def problem(address: str, service: str, seconds: float, tls: TlsFiles | None) -> str:
    """Why the worker is not serving; empty if it is."""
    with _channel(address, tls) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=seconds)
        except grpc.RpcError as error:
            return f"{address} does not answer: {_reason(error)}"
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return ""
        return f"{address} is not serving: it loads its model or drains"


def _reason(error: Exception) -> str:
    """Of a call that failed: gRPC's errors are calls, too."""
    return f"{error.details()} ({error.code().name})" if isinstance(error, grpc.Call) else str(error)


def _channel(address: str, tls: TlsFiles | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
    pem, (name, *_) = pem_of(tls), own_certificate(tls, "server").names
    credentials = grpc.ssl_channel_credentials(pem.authority, pem.key, pem.certificate)
    options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", name)]
    return grpc.secure_channel(address, credentials, options=options)


def _own_certificate(environment: Mapping[str, str]) -> TlsFiles | None:
    paths = [
        environment.get(f"DROVER_WORKER_FLEET_TLS_{each}") for each in ("CERTIFICATE", "KEY", "AUTHORITY")
    ]
    return TlsFiles(*(Path(path) for path in paths if path)) if all(paths) else None


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m engine_worker.health HOST:PORT\n")
        return 2
    try:
        found = problem(arguments[0], SERVICE_NAME, seconds=4.0, tls=_own_certificate(environment))
    except ValueError as error:
        sys.stderr.write(f"certificate cannot be used: {error}\n")
        return 1
    if found:
        sys.stderr.write(f"{found}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
