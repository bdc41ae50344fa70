"""From an address to a worker: each kind of address has its own transport."""

from __future__ import annotations

from frontend.fleet.base import Worker
from frontend.fleet.grpc_worker import GrpcWorker
from frontend.fleet.ollama_host.address import OLLAMA
from frontend.fleet.ollama_host.worker import OllamaWorker


def connect(address: str) -> Worker:
    return OllamaWorker(address) if address.startswith(OLLAMA) else GrpcWorker(address)
