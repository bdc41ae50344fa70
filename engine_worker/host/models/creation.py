"""Makes a model of files that were uploaded: one GGUF file, or a folder in Hugging Face's layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from drover.errors import InvalidRequest
from drover.names import ModelName
from drover.v1 import host_pb2
from engine_worker.host.models.base import Reader
from engine_worker.host.models.model_settings import ModelSettings
from engine_worker.host.models.simulated import SIMULATED
from engine_worker.host.store.manifest import (
    FILE,
    LICENSE,
    MESSAGES,
    MODEL,
    PARAMETERS,
    SYSTEM,
    TEMPLATE,
    Layer,
    Manifest,
    is_file_name,
)
from engine_worker.host.store.store import Store

_GGUF = b"GGUF"
# Reading them runs what is in them.
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class Creation:
    """Blocks: use a thread. `readers`: a manifest that none of them can read is not listed."""

    store: Store
    readers: Sequence[Reader]

    def create(self, name: ModelName, request: host_pb2.CreateRequest) -> Manifest:
        """Raises InvalidRequest for files that make no model, StoreUnavailable."""
        layers = [*self._weights(request.files), *self._texts(request)]
        manifest = Manifest(layers, self.store.put_config(layers))
        self.check(name, manifest)
        self.store.put(name, manifest)
        return manifest

    def _weights(self, files: Mapping[str, str]) -> Iterator[Layer]:
        gguf = [digest for digest in files.values() if self._begins_as_gguf(digest)]
        if len(gguf) > 1:
            raise InvalidRequest(f"{len(gguf)} GGUF files were given; a model is made of one")
        if gguf:
            yield Layer(MODEL, gguf[0], self._size(gguf[0]))
            return
        if not any(path.endswith(".safetensors") for path in files):
            raise InvalidRequest("the files are neither GGUF nor safetensors")
        for path, digest in sorted(files.items()):
            title = PurePosixPath(path).name
            if path.endswith(_PICKLED):
                raise InvalidRequest(f"{title}: pickled weights are not taken, since reading them runs code")
            if not is_file_name(title):
                raise InvalidRequest(f"{path[:200]!r} is no plain file name")
            yield Layer(FILE, digest, self._size(digest), title)

    def _texts(self, request: host_pb2.CreateRequest) -> Iterator[Layer]:
        for media_type, text in (
            (TEMPLATE, request.template),
            (SYSTEM, request.system),
            (PARAMETERS, request.parameters_json),
            (MESSAGES, request.messages_json),
            *((LICENSE, text) for text in request.licenses),
        ):
            if text:
                yield self._put(media_type, text.encode())

    def check(self, name: ModelName, manifest: Manifest) -> None:
        """Raises InvalidRequest for files that make no model, and for a simulated one: its flags are for
        operators only.
        """
        if manifest.of_type(SIMULATED):
            raise InvalidRequest("simulated models are put into a store by its operator, and not pulled")
        try:
            if not any(read(name, manifest, ModelSettings()) is not None for read in self.readers):
                raise InvalidRequest("the files make no model of a kind that is known")
        except (OSError, ValueError) as error:
            raise InvalidRequest(f"the files make no model: {error}") from error

    def _put(self, media_type: str, data: bytes) -> Layer:
        return Layer(media_type, self.store.blobs.put(data), len(data))

    def _begins_as_gguf(self, digest: str) -> bool:
        self._size(digest)
        with self.store.blobs.path(digest).open("rb") as file:
            return file.read(len(_GGUF)) == _GGUF

    def _size(self, digest: str) -> int:
        size = self.store.blobs.size(digest)
        if size is None:
            raise InvalidRequest(f"there is no blob {digest}; upload it first (POST /api/blobs/{digest})")
        return size
