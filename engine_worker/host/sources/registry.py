"""A registry in Ollama's form: OCI distribution, with Ollama's kinds of layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drover.names import DEFAULT_HOST, ModelName
from engine_worker.host.sources.base import RemoteFile, RemoteModel
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.store.manifest import DOCKER_MANIFEST, MAX_BYTES, OCI_MANIFEST, Manifest

_ACCEPT = {"Accept": f"{DOCKER_MANIFEST}, {OCI_MANIFEST}"}


@dataclass(frozen=True, slots=True)
class Registry:
    """Implements Source. `addresses`: URLs of hosts whose name is not where they are, such as a mirror of the
    default registry. `insecure`: without TLS, where no address is set.
    """

    client: SourceClient
    addresses: Mapping[str, str] = field(default_factory=dict)
    insecure: bool = False

    async def find(self, name: ModelName) -> RemoteModel:
        base = self.base_url(name)
        text = await self.client.get(f"{base}/manifests/{name.tag}", _ACCEPT, MAX_BYTES)
        manifest = Manifest.parse(text)
        files = [RemoteFile(layer, f"{base}/blobs/{layer.digest}") for layer in manifest.files]
        return RemoteModel(files, manifest)

    def base_url(self, name: ModelName) -> str:
        """Of the model's manifests and blobs."""
        return f"{self._address(name.host)}/v2/{name.namespace}/{name.model}"

    def _address(self, host: str) -> str:
        known = self.addresses.get(host.casefold())
        if known:
            return known.rstrip("/")
        return f"{'http' if self.insecure and host != DEFAULT_HOST else 'https'}://{host}"
