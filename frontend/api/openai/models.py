"""GET /v1/models and /v1/models/{id} (ollama-contract.md, "OpenAI: models")."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from frontend.api.core.go_json import dumps
from frontend.api.core.name_resolution import find_listed
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.models.catalog import Catalog
from frontend.models.model import CatalogModel

_NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class OpenAIModels:
    catalog: Catalog

    async def list(self) -> Response:
        models = await self.catalog.models()
        return _json({"object": "list", "data": [_model_object(model, model.name.short) for model in models]})

    async def one(self, http: Request) -> Response:
        """One model, under the id of the path, which may contain slashes."""
        model_id = str(http.path_params["id"])
        if not model_id or model_id.endswith("/"):
            # Answered as for any other path: a redirect to the path without the slash, or 404.
            raise HTTPException(404)
        return _json(_model_object(await find_listed(self.catalog, model_id), model_id))


def _model_object(model: CatalogModel, name: str) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": name,
        "object": "model",
        "created": model.modified_unix_ns // _NS_PER_SECOND,
        "owned_by": model.name.namespace,
    }
    if model.adapter and model.preset is not None:
        # As servers with adapters list them.
        shown |= {"root": model.adapter, "parent": model.preset.base.short}
    return shown


def _json(value: object) -> Response:
    return Response(dumps(value) + b"\n", media_type=JSON)


def router(catalog: Catalog) -> APIRouter:
    routes = direct_router()
    models = OpenAIModels(catalog)
    routes.add_api_route("/v1/models", models.list, methods=["GET"])
    routes.add_api_route("/v1/models/{id:path}", models.one, methods=["GET"])
    return routes
