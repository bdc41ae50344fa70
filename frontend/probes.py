"""Probes: `/healthz` never depends on workers, `/readyz` does, and fails as soon as the frontend drains."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import PlainTextResponse, Response

from frontend.dialects.open_answers import OpenAnswers
from frontend.fleet.fleet import Fleet
from frontend.http.routes import DirectRoute


def routes(fleet: Fleet, answers: OpenAnswers) -> Sequence[DirectRoute]:
    async def healthz() -> Response:
        return PlainTextResponse("ok")

    async def readyz() -> Response:
        if answers.draining:
            return PlainTextResponse("shutting down", 503)
        if fleet.has_ready_worker:
            return PlainTextResponse("ok")
        return PlainTextResponse("no engine worker is ready", 503)

    return [
        DirectRoute("/healthz", healthz, "GET", "HEAD"),
        DirectRoute("/readyz", readyz, "GET", "HEAD"),
    ]
