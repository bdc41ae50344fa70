"""POST /api/create, POST /api/copy and DELETE /api/delete.

Contract: ollama-contract.md, "Create, copy, delete and blobs".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import DroverError, InvalidRequest, ModelNotFound, NotTransferable
from drover.names import ModelName
from frontend.api.core.body import read_json
from frontend.api.core.go_json import Json
from frontend.api.core.name_resolution import find_named, names_of
from frontend.api.core.request import NamedRequest, read_body
from frontend.api.core.typed_fields import text
from frontend.api.ollama.create import (
    CreateRequest,
    check_messages,
    check_quantize,
    check_source,
    check_unusable,
    copy_of,
    is_digest,
    preset_of,
    steps_of,
    store_request_of,
    template_of,
)
from frontend.api.ollama.create_declared import check_draft, without_effect
from frontend.api.ollama.transfer import no_such_weights, progress, progress_of, pulling
from frontend.http.routes import direct_router
from frontend.models.adapter import Adapter
from frontend.models.adapters import Adapters
from frontend.models.blobs import Blobs
from frontend.models.catalog import Catalog
from frontend.models.model import CatalogModel
from frontend.models.preset import Preset
from frontend.observability.request_record import record_of
from frontend.routing.hosts.stores import HostStores
from frontend.settings import FrontendSettings

# What a model of files does not keep: its worker knows what it does.
_DECLARATIONS = ("renderer", "parser", "requires", "capabilities")


@dataclass(slots=True)
class CopyRequest:
    source: str = ""
    destination: str = ""

    @classmethod
    def read(cls, body: Json) -> CopyRequest:
        return read_body(cls, body, "CopyRequest", {"source": text, "destination": text})


def read_delete(body: Json) -> NamedRequest:
    return read_body(NamedRequest, body, "DeleteRequest", {"model": text, "name": text})


@dataclass(frozen=True, slots=True)
class Management:
    catalog: Catalog
    adapters: Adapters
    blobs: Blobs
    stores: HostStores
    settings: FrontendSettings

    async def create(self, http: Request) -> Response:
        request = await read_json(http, self.settings, CreateRequest.read)
        name = ModelName.parse(request.wanted)
        if name is None:
            raise InvalidRequest("invalid model name")
        record = record_of(http.scope)
        record.fields["model"] = name.short
        try:
            if self.stores.exist and request.files and not request.origin:
                return await self._create_in_store(http, request, name)
            check_source(request)
            check_unusable(request, self.settings.ollama_version)
            await check_draft(request.draft_files, self.blobs)
            preset, origin = await self._create(request, name)
        except DroverError as error:
            record.record_error(error)
            # Upstream tries to pull a missing model before it reports the error.
            began = [pulling()] if isinstance(error, NotTransferable) else []
            return progress(began, request.stream, error)
        ignored = without_effect(CatalogModel(name, origin.served, preset))
        return progress(steps_of(preset, origin), request.stream, ignored=ignored)

    async def _create_in_store(self, http: Request, request: CreateRequest, name: ModelName) -> Response:
        """A model with weights of its own, on a host."""
        self.catalog.check_permitted(name, "overwrite")
        check_unusable(request, self.settings.ollama_version)
        if request.draft_files:
            raise InvalidRequest("draft_files: hosts serve no draft models; leave DRAFT out")
        wanted = store_request_of(request, name)
        if self.catalog.fleet.hosts.find(name.key) is None:
            self._check_free(request.wanted)
        ignored = [field for field in _DECLARATIONS if getattr(request, field)]
        return await progress_of(http, self.stores.create(wanted, name.key), request.stream, ignored)

    async def _create(self, request: CreateRequest, name: ModelName) -> tuple[Preset, CatalogModel]:
        """The new preset, and what it is made from."""
        self._check_free(request.wanted)
        origin = await find_named(self.catalog, request.origin, fresh=True)
        if origin is None:
            raise no_such_weights(self.stores.exist)
        check_quantize(request)
        check_messages(request.messages)
        await self._check_sizes(request.adapters)
        adapter = await self.adapters.read(request.adapters, origin) if request.adapters else None
        preset = preset_of(request, name, origin, *await template_of(request, origin), adapter)
        self.catalog.check_route(preset)
        if adapter is None:
            await self._put(preset)
        else:
            await self._put_with(adapter, preset, origin)
        return preset, origin

    async def _check_sizes(self, adapter: Mapping[str, str]) -> None:
        """Raises InvalidRequest for files that only hosts have, since they are too large for a preset."""
        most = self.settings.max_blob_bytes
        for file, digest in adapter.items():
            if not self.stores.can_be_reached or not is_digest(digest) or await self.blobs.has(digest):
                continue
            size = await self.stores.blob_size(digest)
            if size is not None and size > most:
                raise InvalidRequest(
                    f"adapters: {file} has {size} bytes; for a model that is there already at most {most} "
                    "are taken (--max-blob-bytes). Send the model's files too: the host makes a model of both"
                )

    async def copy(self, http: Request) -> Response:
        request = await read_json(http, self.settings, CopyRequest.read)
        source, destination = ModelName.parse(request.source), ModelName.parse(request.destination)
        if source is None:
            raise InvalidRequest(f'source "{request.source}" is invalid')
        if destination is None:
            raise InvalidRequest(f'destination "{request.destination}" is invalid')
        if source.key == destination.key:
            # As upstream, even where there is no such model.
            return Response()
        if not self.stores.has(destination.key):
            self._check_free(request.destination)
        origin = await self.catalog.find_first([source], fresh=True)
        if origin is None:
            raise ModelNotFound(f'model "{request.source}" not found')
        if self._is_of_a_store(origin):
            # A model of its own: it stays when the first one is removed, and can be pushed.
            self.catalog.check_permitted(destination, "overwrite")
            await self.stores.copy(origin.name.short, origin.name.key, destination.short, destination.key)
        else:
            await self._put(copy_of(origin, destination))
        return Response()

    def _is_of_a_store(self, model: CatalogModel) -> bool:
        derived = model.preset is not None or model.virtual is not None
        return not derived and bool(model.info.manifest) and self.stores.has(model.name.key)

    async def delete(self, http: Request) -> Response:
        request = await read_json(http, self.settings, read_delete)
        if not request.wanted.strip():
            raise InvalidRequest("model is required")
        name = ModelName.parse(request.wanted.strip())
        if name is None:
            raise InvalidRequest(f'name "{request.wanted}" is invalid')
        preset = self.catalog.presets.get(name.key)
        if self.stores.has(name.key) and not self.catalog.is_hidden(name):
            await self.stores.delete(name.short, name.key)
            if preset is None:
                return Response()
        elif (
            preset is None and not self.stores.has(name.key) and await self.stores.delete_unlisted(name.short)
        ):
            return Response()
        await self.catalog.delete(name, as_sent=request.wanted)
        if preset is not None and preset.adapter is not None:
            await self.adapters.release(preset.adapter)
        return Response()

    async def _put_with(self, adapter: Adapter, preset: Preset, origin: CatalogModel) -> None:
        """Write a preset with a new adapter, once the workers have it."""
        try:
            await self.adapters.place(adapter, origin)
            await self._put(preset)
        except DroverError:
            await self.adapters.release(adapter)
            raise

    def _check_free(self, text: str) -> None:
        """Raises InvalidRequest for any name of a served model, also with `:local`."""
        for name in names_of(text):
            self.catalog.check_free(name, "overwrite")

    async def _put(self, preset: Preset) -> None:
        replaced = self.catalog.presets.get(preset.name.key)
        length, most = len(preset.to_document()), self.settings.max_preset_bytes
        if length > most:
            raise InvalidRequest(
                f"the model's system, template, messages, parameters and licences have {length} bytes "
                f"together, and this server keeps at most {most}"
            )
        await self.catalog.put(preset)
        if replaced is not None and replaced.adapter is not None:
            await self.adapters.release(replaced.adapter)


def router(
    catalog: Catalog, adapters: Adapters, blobs: Blobs, stores: HostStores, settings: FrontendSettings
) -> APIRouter:
    routes = direct_router()
    management = Management(catalog, adapters, blobs, stores, settings)
    routes.add_api_route("/api/create", management.create, methods=["POST"])
    routes.add_api_route("/api/copy", management.copy, methods=["POST"])
    routes.add_api_route("/api/delete", management.delete, methods=["DELETE"])
    return routes
