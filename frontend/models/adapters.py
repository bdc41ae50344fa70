"""The adapters of presets: their blobs, kept as long as a preset needs them, and their uploads to workers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from drover.errors import AdapterMissing, InvalidRequest, ModelNotFound
from drover.v1 import engine_pb2 as pb
from frontend.models.adapter import BLOB_EXPIRED, Adapter, AdapterFile, named_files
from frontend.models.blobs import Blobs
from frontend.models.model import CatalogModel, workers_of
from frontend.models.named_adapters import named_models
from frontend.models.presets import Presets
from frontend.routing.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Adapters:
    """Implements frontend.routing.adapters.AdapterSource."""

    blobs: Blobs
    presets: Presets
    fleet: Fleet
    _placed: list[Adapter] = field(default_factory=list)
    """Those that are being placed for presets which are not written yet; one as often as it is placed."""

    async def read(self, sent: Mapping[str, str], base: CatalogModel) -> Adapter:
        """The adapter of the blobs that a client names, for a model made from `base`.

        Raises InvalidRequest for blobs that are not there, and for a base that takes no such adapter.
        """
        files = named_files(sent)
        if base.adapter or base.info.adapter_digests:
            raise InvalidRequest("only one adapter is currently supported")
        adapter = Adapter(tuple([await self._file(name, digest) for name, digest in sorted(files.items())]))
        _check_taken(adapter, base)
        return adapter

    async def place(self, adapter: Adapter, base: CatalogModel) -> None:
        """Give it to the workers of `base`, which check it. Raises InvalidRequest if it does not fit or one
        of its blobs has expired, NoWorkerReady, StoreUnavailable.
        """
        if not await self.blobs.renew(adapter.blob_digests):
            raise InvalidRequest(BLOB_EXPIRED)
        self._placed.append(adapter)
        try:
            await self.fleet.place_adapter(workers_of(base), adapter.digest)
        finally:
            self._placed.remove(adapter)

    async def release(self, adapter: Adapter) -> None:
        """Call when a preset has it no longer. If no other one has it, its blobs expire and workers forget
        it, unless it is the operator's. Raises StoreUnavailable.
        """
        if adapter.is_operators:
            return
        await self.blobs.release(adapter.blob_digests)
        await self.presets.refresh()
        if self._find(adapter.digest) is None:
            await self.fleet.remove_adapter(adapter.digest)

    async def parts(self, digest: str) -> AsyncGenerator[pb.AdapterPart, None]:
        adapter = self._find(digest)
        if adapter is not None and adapter.is_operators:
            raise AdapterMissing(
                "the worker lacks an adapter of the operator's; give all workers of the model the same "
                "--named-adapters"
            )
        if adapter is None:
            raise ModelNotFound("the adapter of the model has been deleted")
        yield pb.AdapterPart(
            header=pb.AdapterHeader(
                digest=digest,
                files=[
                    pb.AdapterFile(name=file.name, sha256=file.sha256, size_bytes=file.size_bytes)
                    for file in adapter.files
                ],
            )
        )
        for file in adapter.files:
            async for piece in self.blobs.pieces(file.digest, file.size_bytes):
                yield pb.AdapterPart(data=piece)

    def _find(self, digest: str) -> Adapter | None:
        """One with blobs first."""
        presets = (*self.presets.all(), *(model.preset for model in named_models(self.fleet)))
        of_presets = (preset.adapter for preset in presets if preset is not None)
        known = (*self._placed, *(adapter for adapter in of_presets if adapter is not None))
        found = (adapter for adapter in known if adapter.digest == digest)
        return min(found, key=lambda adapter: adapter.is_operators, default=None)

    async def _file(self, name: str, digest: str) -> AdapterFile:
        size = await self.blobs.size(digest)
        if size is None:
            raise InvalidRequest(
                f"adapters: there is no blob {digest}; upload {name} with POST /api/blobs/{digest} first"
            )
        return AdapterFile(name, digest, size)


def _check_taken(adapter: Adapter, base: CatalogModel) -> None:
    if base.virtual is not None:
        raise InvalidRequest("adapters: a model that chooses between two takes no adapter")
    can, name = base.info.capabilities, base.name.short
    if not (can.gguf_adapters or can.safetensors_adapters):
        raise InvalidRequest(
            f"adapters: the workers of '{name}' take none; workers with llama.cpp or SGLang that generate "
            "do if they are started with --adapters FOLDER, and those of a worker host with SGLang if "
            '--model-settings has {"adapters": true} for the model'
        )
    if adapter.is_gguf and not can.gguf_adapters:
        raise InvalidRequest(
            f"adapters: the workers of '{name}' ({base.info.engine_kind}) take PEFT's files, "
            "adapter_config.json and adapter_model.safetensors, and no GGUF file"
        )
    if not adapter.is_gguf and not can.safetensors_adapters:
        raise InvalidRequest(
            f"adapters: the workers of '{name}' ({base.info.engine_kind}) take an adapter as one GGUF file; "
            "llama.cpp's convert_lora_to_gguf.py makes one of PEFT's files"
        )
