"""From an address to a worker: each kind of address has its own transport."""

from __future__ import annotations

from frontend.routing.backends.base import Worker
from frontend.routing.backends.grpc.worker import GrpcWorker
from frontend.routing.backends.ollama.address import OLLAMA


def connect(address: str) -> Worker:
    """The HTTP client of Ollama hosts is imported where one is configured."""
    if not address.startswith(OLLAMA):
        return GrpcWorker(address)
    from frontend.routing.backends.ollama.worker import OllamaWorker

    return OllamaWorker(address)
