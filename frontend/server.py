"""Uvicorn with an end that clients understand."""

from __future__ import annotations

import asyncio
import logging
import math
import socket

import uvicorn

from drover import logs
from frontend.app import build_app
from frontend.dialects.open_answers import OpenAnswers
from frontend.fleet.fleet import Fleet
from frontend.settings import FrontendSettings

_log = logging.getLogger("drover.frontend")
BACKLOG = 2048
_LAST_WORDS_SECONDS = 5


class FrontendServer(uvicorn.Server):
    """After the grace, open answers end with the protocol's error, not with a cut connection."""

    def __init__(self, settings: FrontendSettings, fleet: Fleet) -> None:
        self._answers = OpenAnswers(settings)
        self._grace_seconds = settings.shutdown_grace_seconds
        super().__init__(
            uvicorn.Config(
                build_app(settings, fleet, self._answers),
                loop="uvloop",
                http="httptools",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=math.ceil(self._grace_seconds) + _LAST_WORDS_SECONDS,
                lifespan="on",
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ender = asyncio.create_task(self._end_answers(), name="end answers after the grace")
        try:
            await super().shutdown(sockets)
        finally:
            ender.cancel()

    async def _end_answers(self) -> None:
        await asyncio.sleep(self._grace_seconds)
        if count := self._answers.end_all():
            logs.event(_log, logging.WARNING, "grace is over", ended_requests=count)
