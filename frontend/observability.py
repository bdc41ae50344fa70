"""What operators and waiting clients ask of a frontend: `/metrics` and `/api/queue`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from drover.errors import InvalidRequest, ModelNotFound
from frontend.admission.admission import Admission
from frontend.dialects.ollama.dialect import JSON
from frontend.dialects.ollama.go_json import dumps
from frontend.http.routes import direct_router
from frontend.telemetry.metrics import Metrics
from frontend.telemetry.request_log import record_of


def router(admission: Admission, metrics: Metrics) -> APIRouter:
    routes = direct_router()

    async def scrape() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def queue(http: Request) -> Response:
        """Where a request stands that was sent with that X-Request-ID, while it waits here."""
        request_id = http.query_params.get("id", "")
        if not request_id:
            raise InvalidRequest("id is missing: the X-Request-ID that the request was sent with")
        found = admission.find(request_id, record_of(http.scope).client)
        if found is None:
            raise ModelNotFound(f"no request '{request_id}' waits in this frontend")
        return Response(
            dumps(
                {
                    "id": request_id,
                    "position": found.position,
                    "waiting": found.waiting,
                    "expected_wait_seconds": round(found.expected_seconds, 3),
                }
            ),
            media_type=JSON,
        )

    routes.add_api_route("/metrics", scrape, methods=["GET"])
    routes.add_api_route("/api/queue", queue, methods=["GET"])
    return routes
