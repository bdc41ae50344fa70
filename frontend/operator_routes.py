"""Routes of operators, probes and waiting clients: /healthz, /readyz, /metrics and /api/queue.

/healthz never depends on workers; /readyz does, and fails as soon as the frontend drains. While the only host
restarts it does not fail: a load balancer would refuse the requests that wait for it here.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from drover.errors import InvalidRequest, NotQueued
from frontend.api.core.go_json import dumps
from frontend.api.in_flight import InFlightRequests
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.observability.metrics import Metrics
from frontend.observability.request_record import record_of
from frontend.routing.fleet import Fleet


def router(fleet: Fleet, in_flight: InFlightRequests, metrics: Metrics) -> APIRouter:
    routes = direct_router()

    async def healthz() -> Response:
        return PlainTextResponse("ok")

    async def readyz() -> Response:
        if in_flight.draining:
            return PlainTextResponse("shutting down", 503)
        if fleet.takes_requests:
            return PlainTextResponse("ok")
        return PlainTextResponse("no engine worker is ready", 503)

    routes.add_api_route("/healthz", healthz, methods=["GET", "HEAD"])
    routes.add_api_route("/readyz", readyz, methods=["GET", "HEAD"])

    async def scrape() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def queue(http: Request) -> Response:
        """The queue position of the request with that X-Request-ID, while it waits in this frontend."""
        request_id = http.query_params.get("id", "")
        if not request_id:
            raise InvalidRequest("id is missing: the X-Request-ID that the request was sent with")
        found = fleet.queues.find(request_id, record_of(http.scope).client)
        if found is None:
            raise NotQueued(f"no request '{request_id}' waits in this frontend")
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
