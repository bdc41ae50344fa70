"""Which source a name is pulled from, and whether the operator allows it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from drover.errors import NotTransferable
from drover.names import ModelName
from engine_worker.host.sources.base import Source
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.hub import HUBS, Hub
from engine_worker.host.sources.registry import Registry


@dataclass(frozen=True, slots=True)
class Sources:
    """`allowed`: hosts; `addresses`: URLs of those that are reached elsewhere. Both in lower case."""

    client: SourceClient
    allowed: Set[str]
    addresses: Mapping[str, str]

    def source_of(self, name: ModelName, insecure: bool) -> Source:
        """Raises NotTransferable for a host that the operator does not allow."""
        host = self._allowed_host(name, "pull model manifest: this server pulls nothing from")
        if host in HUBS:
            return Hub(self.client, self.addresses)
        return Registry(self.client, self.addresses, insecure)

    def registry_of(self, name: ModelName, insecure: bool) -> Registry:
        """Raises NotTransferable for a host that the operator does not allow, or that is no registry."""
        host = self._allowed_host(name, "unauthorized: this server pushes nothing to")
        if host in HUBS:
            raise NotTransferable(f"{name.host} is no registry in Ollama's form, and only to those models go")
        return Registry(self.client, self.addresses, insecure)

    def _allowed_host(self, name: ModelName, refusal: str) -> str:
        host = name.host.casefold()
        if host not in self.allowed:
            listed = ", ".join(sorted(self.allowed)) or "none"
            raise NotTransferable(f"{refusal} {name.host}; the operator allows: {listed}")
        return host
