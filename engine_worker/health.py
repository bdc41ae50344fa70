"""`python -m engine_worker.health HOST:PORT`: status 0 when the worker there is ready (probes of containers).

It asks grpc.health.v1 for the service drover.v1.Engine, which is not serving while the model loads or the
worker drains.
"""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2

from drover.rpc import CHANNEL_OPTIONS, SERVICE_NAME


def is_serving(address: str, service: str = SERVICE_NAME, seconds: float = 1.0) -> bool:
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=seconds)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(0 if is_serving(sys.argv[1], seconds=4.0) else 1)
