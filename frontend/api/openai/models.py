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
class Models:
    catalog: Catalog

    async def list(self) -> Response:
        models = await self.catalog.models()
        return _json({"object": "list", "data": [_card(model, model.name.short) for model in models]})

    async def one(self, http: Request) -> Response:
        """Under the id as it was asked for, which may have slashes."""
        wanted = str(http.path_params["id"])
        if not wanted or wanted.endswith("/"):
            # A slash too many, as on any other path.
            raise HTTPException(404)
        return _json(_card(await find_listed(self.catalog, wanted), wanted))


def _card(model: CatalogModel, name: str) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": model.modified_unix_ns // _NS_PER_SECOND,
        "owned_by": model.name.namespace,
    }


def _json(value: object) -> Response:
    return Response(dumps(value) + b"\n", media_type=JSON)


def router(catalog: Catalog) -> APIRouter:
    routes = direct_router()
    models = Models(catalog)
    routes.add_api_route("/v1/models", models.list, methods=["GET"])
    routes.add_api_route("/v1/models/{id:path}", models.one, methods=["GET"])
    return routes
