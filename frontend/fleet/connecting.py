"""From an address to a worker: each kind of address has its own transport."""

from __future__ import annotations

from frontend.fleet.base import Worker
from frontend.fleet.grpc_worker import GrpcWorker
from frontend.fleet.ollama_host.address import OLLAMA


def connect(address: str) -> Worker:
    """The HTTP client of Ollama hosts is imported where one is configured."""
    if not address.startswith(OLLAMA):
        return GrpcWorker(address)
    from frontend.fleet.ollama_host.worker import OllamaWorker

    return OllamaWorker(address)
