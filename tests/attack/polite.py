"""Well-behaved clients: each sends one request at a time and checks the whole response."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from tests.chaos.clients import body, stream

_TOKENS = 12
_PAUSE_SECONDS = 0.1
_TIMEOUT_SECONDS = 60.0


class Polite:
    """`count` clients, each with an address of its own: 127.0.1.1 and so on. `failures`: what they got
    instead of an answer; a refusal with 503 is tried again after its Retry-After, and counted as busy.
    """

    def __init__(self, url: str, count: int, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = headers
        self._tasks = [
            asyncio.create_task(self._ask_on(f"127.0.1.{number + 1}"), name=f"polite {number}")
            for number in range(count)
        ]
        self._stopping = False
        self.answered = 0
        self.busy = 0
        self.failures: list[str] = []

    async def stop(self) -> None:
        """After the answers that have begun."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _ask_on(self, source: str) -> None:
        transport = httpx.AsyncHTTPTransport(local_address=source)
        async with httpx.AsyncClient(
            base_url=self._url,
            headers=self._headers,
            transport=transport,
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        ) as http:
            number = 0
            while not self._stopping:
                number += 1
                await self._ask(http, f"{source} asks for the {number}th time")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask(self, http: httpx.AsyncClient, prompt: str) -> None:
        seen = await stream(http, body(prompt, _TOKENS))
        if seen.status == 503:
            self.busy += 1
            await asyncio.sleep(1)
        elif seen.is_whole and seen.done is not None and seen.done["eval_count"] == _TOKENS:
            self.answered += 1
        else:
            self.failures.append(f"{seen.status} {seen.error or seen.done}")
