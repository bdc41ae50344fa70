"""Chooses the backend for an address."""

from __future__ import annotations

from frontend.routing.backends.base import Worker
from frontend.routing.backends.grpc.tls import FleetTls
from frontend.routing.backends.grpc.worker import GrpcWorker
from frontend.routing.backends.ollama.address import OLLAMA


def connect(address: str, tls: FleetTls | None = None, ollama_authority: str = "") -> Worker:
    """gRPC, with `tls` or without, unless the address names an Ollama host, whose HTTP client is imported
    only then. Raises ValueError for a file with authorities of Ollama hosts that cannot be used.
    """
    if not address.startswith(OLLAMA):
        return GrpcWorker(address, tls)
    from frontend.routing.backends.ollama.worker import OllamaWorker

    return OllamaWorker(address, ollama_authority)
