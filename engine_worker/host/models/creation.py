"""Makes a model of uploaded files: one GGUF file or a folder in Hugging Face's layout, and an adapter."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from drover.adapters import GGUF_FILE
from drover.errors import InvalidRequest
from drover.names import ModelName
from drover.v1 import host_pb2
from engine_worker.adapters.fit import read_fitting
from engine_worker.host.models.base import Reader
from engine_worker.host.models.catalog import without_tensors
from engine_worker.host.models.model_settings import ModelSettings
from engine_worker.host.models.simulated import SIMULATED
from engine_worker.host.store.manifest import (
    ADAPTER,
    FILE,
    LICENSE,
    MESSAGES,
    MODEL,
    PARAMETERS,
    SYSTEM,
    TEMPLATE,
    Layer,
    Manifest,
    is_digest,
    is_file_name,
)
from engine_worker.host.store.store import Store
from engine_worker.settings import WorkerSettings

_GGUF = b"GGUF"
_MAX_RANK: int = WorkerSettings.model_fields["max_adapter_rank"].default
# Frontends keep it of every model in a store.
_MAX_CARD_BYTES = 8 * 1024 * 1024
# Reading them runs what is in them.
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class Creation:
    """Blocks: use a thread. `readers`: a manifest that none of them can read is not listed."""

    store: Store
    readers: Sequence[Reader]

    def create(self, name: ModelName, request: host_pb2.CreateRequest) -> Manifest:
        """Raises InvalidRequest for files that make no model, ModelNotFound for a copy of none,
        StoreUnavailable.
        """
        if request.copy_of:
            return self._copy(name, request.copy_of)
        files = set(filter(is_digest, {*request.files.values(), *request.adapters.values()}))
        with self.store.holding(files):
            with self._blaming_damage(files):
                adapter = self._adapter(request.adapters)
                layers = [*self._weights(request.files), *adapter, *self._texts(request)]
            manifest = Manifest(layers, self.store.put_config(layers))
            files |= {layer.digest for layer in manifest.files}
            self.check(name, manifest)
            self.store.put(name, manifest)
        return manifest

    def _copy(self, name: ModelName, text: str) -> Manifest:
        """Both have the same files, and stay when the other is removed."""
        source = ModelName.parse(text)
        if source is None:
            raise InvalidRequest(f"{text[:200]!r} is no model name")
        files: set[str] = set()
        with self.store.holding(files):
            manifest = self.store.find(source)
            files |= {layer.digest for layer in manifest.files}
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
        named: dict[str, str] = {}
        # Of several with one name the one nearest to the top: clients send those of subfolders, too.
        for path, digest in sorted(files.items(), key=lambda item: (item[0].count("/"), item[0])):
            named.setdefault(PurePosixPath(path).name, digest)
        for title, digest in sorted(named.items()):
            if not is_file_name(title):
                raise InvalidRequest(f"{title[:200]!r} is no plain file name")
            yield Layer(FILE, digest, self._size(digest), title)

    def _adapter(self, files: Mapping[str, str]) -> Iterator[Layer]:
        """`files`: by the names that workers use."""
        for name, digest in sorted(files.items()):
            yield Layer(ADAPTER, digest, self._size(digest), "" if name == GGUF_FILE else name)

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
        """Raises InvalidRequest for files that make no model, pickled weights, texts that are too long, an
        adapter that does not fit, and a simulated model: its flags are for operators only.
        """
        manifest.check()
        digests = {layer.digest for layer in manifest.files}
        with self._blaming_damage(digests), self.store.viewing(manifest):
            self._check(name, manifest)

    @contextmanager
    def _blaming_damage(self, digests: Collection[str]) -> Iterator[None]:
        """If it fails: a file that something else has damaged is the reason, and has to come again."""
        try:
            yield
        except InvalidRequest as error:
            if damaged := self.store.blobs.remove_damaged(set(digests)):
                raise InvalidRequest(
                    f"{damaged[0]} was damaged in the store and is removed; upload it or pull the model again"
                ) from error
            raise

    def _check(self, name: ModelName, manifest: Manifest) -> None:
        if manifest.of_type(SIMULATED):
            raise InvalidRequest("simulated models are put into a store by its operator, and not pulled")
        for layer in manifest.of_type(FILE):
            if layer.title.endswith(_PICKLED):
                raise InvalidRequest(
                    f"{layer.title}: pickled weights are not taken, since reading them runs code"
                )
        try:
            read = (reader(name, manifest, ModelSettings()) for reader in self.readers)
            model = next((each for each in read if each is not None), None)
            if model is None:
                raise InvalidRequest("the files make no model of a kind that is known")
            if (length := without_tensors(model.card).ByteSize()) > _MAX_CARD_BYTES:
                raise InvalidRequest(
                    f"the model's template, licences and other texts have {length} bytes together; at most "
                    f"{_MAX_CARD_BYTES} are taken"
                )
            if manifest.of_type(ADAPTER):
                self._check_adapter(name, manifest)
        except (OSError, ValueError) as error:
            raise InvalidRequest(f"the files make no model: {error}") from error

    def _check_adapter(self, name: ModelName, manifest: Manifest) -> None:
        """As its worker will do. Raises InvalidRequest, OSError."""
        bare = replace(manifest, layers=[each for each in manifest.layers if each.media_type != ADAPTER])
        found = (read(name, bare, ModelSettings(adapters=True)) for read in self.readers)
        base = next(model for model in found if model is not None)
        view = self.store.adapter_folder_of(manifest)
        with TemporaryDirectory() as folder:
            for path in view.iterdir():
                (Path(folder) / path.name).symlink_to(path.resolve())
            read_fitting(manifest.digest, Path(folder), base.card, _MAX_RANK)

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
