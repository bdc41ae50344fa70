"""The routes about models: tags, show, ps (ollama-contract.md, "Show" and "Tags, ps and version")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.concurrency import run_in_thread_if_large
from drover.errors import InvalidRequest
from drover.names import ModelName
from drover.thinking import to_json
from drover.v1 import engine_pb2 as pb
from frontend.access.current_key import current_key
from frontend.access.key import Role
from frontend.api.core.body import INLINE_BYTES, read_json
from frontend.api.core.go_json import dumps
from frontend.api.core.go_values import never, rfc3339
from frontend.api.core.name_resolution import find_listed
from frontend.api.core.request import ShowRequest
from frontend.api.ollama.modelfile import modelfile, parameter_lines, parameters_of
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.models.catalog import Catalog
from frontend.models.model import CatalogModel
from frontend.routing.fleet import LoadedModel
from frontend.routing.hosts.stores import HostStores
from frontend.settings import FrontendSettings

_VERBOSE_SECONDS = 30.0
# VS Code's Copilot looks a model up by its basename (ollama-contract.md, "Show").
_COPILOT = "GitHubCopilotChat/"
# The last two are our own words: Ollama has none for them.
_LATER = ("decision", "rerank", "classify")
_OF_A_GGUF = ("tools", "thinking", "completion", "embedding", "vision", "audio", "insert", *_LATER)
_OF_A_GO_TEMPLATE = ("completion", "tools", "insert", "vision", "embedding", "thinking", "audio", *_LATER)


@dataclass(frozen=True, slots=True)
class Models:
    catalog: Catalog
    stores: HostStores
    settings: FrontendSettings

    async def tags(self) -> Response:
        return _json({"models": [_tag(model) for model in await self.catalog.models()]})

    async def ps(self) -> Response:
        return _json({"models": [_process(loaded) for loaded in self.catalog.loaded()]})

    async def show(self, http: Request) -> Response:
        request = await read_json(http, self.settings, ShowRequest.read)
        if not request.wanted.strip():
            raise InvalidRequest("model is required")
        model = await find_listed(self.catalog, request.wanted)
        described = await self._described(model, request.verbose)
        if model.served is not None:
            model = replace(model, served=replace(model.served, info=described))
        info_json = described.model_info_json
        is_copilot = http.headers.get("user-agent", "").startswith(_COPILOT)

        def shown() -> Response:
            info = orjson.loads(info_json or "{}")
            if is_copilot:
                info["general.basename"] = request.wanted
            return _json(_shown(model, request, info, described.tensors))

        return await run_in_thread_if_large(shown, len(info_json), INLINE_BYTES)

    async def _described(self, model: CatalogModel, verbose: bool) -> pb.Model:
        """Tensors of stored models, and long lists if the client asks for them, are fetched only now."""
        stored = model.info
        if model.virtual is None and stored.manifest and self._is_stored(stored):
            name = ModelName.parse(stored.names[0])
            assert name is not None
            return await self.stores.describe(name.short, name.key, verbose)
        if not verbose or model.served is None or model.virtual is not None:
            return model.info
        return await self.catalog.fleet.call(
            model.served, lambda worker: worker.model(_VERBOSE_SECONDS, verbose=True)
        )

    def _is_stored(self, info: pb.Model) -> bool:
        name = ModelName.parse(info.names[0]) if info.names else None
        return name is not None and self.stores.has(name.key)


def _shown(
    model: CatalogModel, request: ShowRequest, info: dict[str, object], tensors: Iterable[pb.Tensor]
) -> dict[str, object]:
    """The fields in upstream's order. The request's options appear in the Modelfile only."""
    parameters = parameters_of(model)
    system = request.system or model.system
    shown: dict[str, object] = {
        "license": "\n".join(model.licenses),
        "modelfile": modelfile(model, system, {**parameters, **request.options}),
        "parameters": parameter_lines(parameters),
        "template": model.template,
        "system": system,
        "renderer": model.renderer,
        "parser": model.parser,
    }
    shown = {key: value for key, value in shown.items() if value}
    shown["details"] = _details(model)
    if model.examples:
        shown["messages"] = [{"role": each.role, "content": each.content} for each in model.examples]
    shown |= _remote(model)
    shown["model_info"] = info
    if request.verbose or model.info.format == "gguf":
        shown["tensors"] = [_tensor(tensor) for tensor in tensors]
    shown["capabilities"] = capabilities(model)
    if (thinking := model.thinking) is not None:
        shown["thinking"] = to_json(thinking)
    if model.template_source:
        shown["template_source"] = model.template_source
    shown["modified_at"] = rfc3339(model.modified_unix_ns)
    return shown | ({"requires": model.requires} if model.requires else {})


def _tag(model: CatalogModel) -> dict[str, object]:
    info = model.info
    lengths = {"context_length": info.trained_context_length, "embedding_length": info.embedding_length}
    return {
        "name": model.name.short,
        "model": model.name.short,
        **_remote(model),
        "modified_at": rfc3339(model.modified_unix_ns),
        "size": model.size_bytes,
        "digest": model.digest,
        "details": _details(model) | {key: value for key, value in lengths.items() if value},
        "capabilities": capabilities(model),
    }


def _process(loaded: LoadedModel) -> dict[str, object]:
    model = CatalogModel(loaded.model.name, loaded.model)
    info, replicas = model.info, len(loaded.replicas) or 1
    return {
        "name": model.name.short,
        "model": model.name.short,
        **_remote(model),
        "size": info.loaded_size_bytes * replicas,
        "digest": info.digest,
        "details": _details(model),
        "expires_at": _expiry(loaded.expires_unix_ns),
        "size_vram": info.loaded_vram_bytes * replicas,
        "context_length": info.context_length,
        **_places(loaded),
    }


def _places(loaded: LoadedModel) -> dict[str, object]:
    """Where worker hosts have it in memory; not for keys that may not see addresses."""
    info, hosted = loaded.model.info, [each for each in loaded.replicas if each.host]
    key = current_key()
    if not hosted or (key is not None and key.role is not Role.ADMIN):
        return {}
    return {
        "hosts": [
            {
                "address": each.host,
                "size": info.loaded_size_bytes,
                "size_vram": info.loaded_vram_bytes,
                "expires_at": _expiry(each.expires_unix_ns),
            }
            for each in sorted(hosted, key=lambda each: each.host)
        ]
    }


def _expiry(unix_ns: int) -> str:
    return rfc3339(unix_ns) if unix_ns else never()


def _remote(model: CatalogModel) -> dict[str, object]:
    """Of a model on an Ollama server."""
    info = model.info
    if not info.remote_host:
        return {}
    return {"remote_model": info.remote_model, "remote_host": info.remote_host}


def _details(model: CatalogModel) -> dict[str, object]:
    info = model.info
    return {
        "parent_model": model.parent,
        "format": info.format,
        "family": info.family,
        "families": list(info.families),
        "parameter_size": info.parameter_size,
        "quantization_level": info.quantization,
    }


def _tensor(tensor: pb.Tensor) -> dict[str, object]:
    return {"name": tensor.name, "type": tensor.type, "shape": list(tensor.shape)}


def capabilities(model: CatalogModel) -> Sequence[str]:
    """Capabilities in Ollama's order, which differs between a GGUF's own template and a Go template."""
    is_ggufs_own = model.info.format == "gguf" and not model.own_template
    order = _OF_A_GGUF if is_ggufs_own else _OF_A_GO_TEMPLATE
    return [name for name in order if getattr(model.capabilities, name)]


def _json(value: object) -> Response:
    return Response(dumps(value), media_type=JSON)


def router(catalog: Catalog, stores: HostStores, settings: FrontendSettings) -> APIRouter:
    routes = direct_router()
    models = Models(catalog, stores, settings)
    routes.add_api_route("/api/tags", models.tags, methods=["GET", "HEAD"])
    routes.add_api_route("/api/ps", models.ps, methods=["GET"])
    routes.add_api_route("/api/show", models.show, methods=["POST"])
    return routes
