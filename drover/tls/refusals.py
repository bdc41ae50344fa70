"""Log lines about peers that TLS keeps out, seldom, as anybody can cause them."""

from __future__ import annotations

import logging
import time

from drover import logs

_LOG_EVERY_SECONDS = 10.0


class Refusals:
    """Logs the first refusal, and then the newest one with the number of all at most every ten seconds."""

    def __init__(self, logger: logging.Logger, level: int, event: str) -> None:
        self._logger = logger
        self._level = level
        self._event = event
        self._count = 0
        self._logged = -_LOG_EVERY_SECONDS

    def add(self, client: str, reason: str) -> None:
        self._count += 1
        now = time.monotonic()
        if now - self._logged >= _LOG_EVERY_SECONDS:
            logs.event(
                self._logger, self._level, self._event, count=self._count, client=client, reason=reason
            )
            self._logged, self._count = now, 0
