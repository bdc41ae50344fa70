"""Probes: `/healthz` never depends on workers, `/readyz` does, and fails as soon as the frontend drains."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from frontend.dialects.open_answers import OpenAnswers
from frontend.fleet.fleet import Fleet
from frontend.http.routes import direct_router


def router(fleet: Fleet, answers: OpenAnswers) -> APIRouter:
    routes = direct_router()

    async def healthz() -> Response:
        return PlainTextResponse("ok")

    async def readyz() -> Response:
        if answers.draining:
            return PlainTextResponse("shutting down", 503)
        if fleet.has_ready_worker:
            return PlainTextResponse("ok")
        return PlainTextResponse("no engine worker is ready", 503)

    routes.add_api_route("/healthz", healthz, methods=["GET", "HEAD"])
    routes.add_api_route("/readyz", readyz, methods=["GET", "HEAD"])
    return routes
