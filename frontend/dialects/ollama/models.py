"""The routes about models: tags, show, ps."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest, ModelNotFound
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.catalog.served import ServedModel
from frontend.dialects.ollama.body import read_json
from frontend.dialects.ollama.dialect import JSON
from frontend.dialects.ollama.go_json import dumps
from frontend.dialects.ollama.modelfile import modelfile, parameters
from frontend.dialects.ollama.options import Options
from frontend.dialects.ollama.timestamps import never, rfc3339
from frontend.dialects.ollama.wire import ShowRequest
from frontend.fleet.fleet import Fleet
from frontend.settings import FrontendSettings


@dataclass(frozen=True, slots=True)
class Models:
    fleet: Fleet
    settings: FrontendSettings

    async def tags(self) -> Response:
        return _json({"models": [_tag(model) for model in self.fleet.served()]})

    async def ps(self) -> Response:
        return _json({"models": [_process(model) for model in self.fleet.served()]})

    async def show(self, http: Request) -> Response:
        request = await read_json(http, self.settings, ShowRequest.read)
        if not request.wanted:
            raise InvalidRequest("model is required")
        name = ModelName.parse(request.wanted)
        if name is None:
            raise InvalidRequest("invalid model name")
        model = self.fleet.find(name)
        if model is None:
            raise ModelNotFound(f"model '{name.short}' not found")
        return _json(_shown(model, request))


def _shown(model: ServedModel, request: ShowRequest) -> dict[str, object]:
    info = model.info
    sampling = _parameters_of(info, request)
    system = request.system or info.system
    shown: dict[str, object] = {"modelfile": modelfile(model.name.short, info, system, sampling)}
    if info.licenses:
        shown["license"] = "\n".join(info.licenses)
    if text := parameters(sampling):
        shown["parameters"] = text
    if info.template:
        shown["template"] = info.template
    if system:
        shown["system"] = system
    return shown | {
        "details": _details(info),
        "model_info": orjson.loads(info.model_info_json or "{}"),
        "capabilities": capabilities(info),
        "modified_at": rfc3339(info.modified_unix_ns),
    }


def _parameters_of(info: pb.Model, request: ShowRequest) -> pb.Sampling:
    sampling = pb.Sampling()
    sampling.CopyFrom(info.defaults)
    options = Options.read(request.options)
    sampling.MergeFrom(options.sampling)
    if options.stop is not None:
        del sampling.stop[:]
        sampling.stop.extend(options.stop)
    return sampling


def _tag(model: ServedModel) -> dict[str, object]:
    info = model.info
    lengths = {"context_length": info.trained_context_length, "embedding_length": info.embedding_length}
    return {
        "name": model.name.short,
        "model": model.name.short,
        "modified_at": rfc3339(info.modified_unix_ns),
        "size": info.size_bytes,
        "digest": info.digest,
        "details": _details(info) | {key: value for key, value in lengths.items() if value},
        "capabilities": capabilities(info),
    }


def _process(model: ServedModel) -> dict[str, object]:
    info = model.info
    return {
        "name": model.name.short,
        "model": model.name.short,
        "size": info.loaded_size_bytes,
        "digest": info.digest,
        "details": _details(info),
        "expires_at": never(),
        "size_vram": info.loaded_vram_bytes,
        "context_length": info.context_length,
    }


def _details(info: pb.Model) -> dict[str, object]:
    return {
        "parent_model": "",
        "format": info.format,
        "family": info.family,
        "families": list(info.families),
        "parameter_size": info.parameter_size,
        "quantization_level": info.quantization,
    }


def capabilities(info: pb.Model) -> list[str]:
    """In the order in which Ollama lists them."""
    can = info.capabilities
    named = (
        ("completion", can.completion),
        ("tools", can.tools),
        ("insert", can.insert),
        ("vision", can.vision),
        ("embedding", can.embedding),
        ("thinking", can.thinking),
        ("audio", can.audio),
    )
    return [name for name, present in named if present]


def _json(value: object) -> Response:
    return Response(dumps(value), media_type=JSON)


def router(fleet: Fleet, settings: FrontendSettings) -> APIRouter:
    routes = APIRouter()
    models = Models(fleet, settings)
    routes.add_api_route("/api/tags", models.tags, methods=["GET", "HEAD"])
    routes.add_api_route("/api/ps", models.ps, methods=["GET"])
    routes.add_api_route("/api/show", models.show, methods=["POST"])
    return routes
