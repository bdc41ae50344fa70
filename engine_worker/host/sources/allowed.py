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
        host = name.host.casefold()
        if host not in self.allowed:
            listed = ", ".join(sorted(self.allowed)) or "none"
            raise NotTransferable(
                f"pull model manifest: this server pulls nothing from {name.host}; the operator allows: "
                f"{listed}"
            )
        if host in HUBS:
            return Hub(self.client, self.addresses)
        return Registry(self.client, self.addresses, insecure)
