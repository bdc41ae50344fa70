"""Clients that record each chunk of a stream, each gap and each ending."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from tests.chaos.fleet import MODEL

_TIMEOUT_SECONDS = 90.0


@dataclass
class Seen:
    """Outcome of one request. `error`: of the stream or the connection; `was_refused`: no connection was
    made.
    """

    status: int = 0
    was_refused: bool = False
    content: str = ""
    thinking: str = ""
    calls: list[object] = field(default_factory=list)
    done: dict[str, object] | None = None
    error: str = ""
    longest_gap_seconds: float = 0.0
    pieces: int = 0

    @property
    def is_whole(self) -> bool:
        return self.done is not None and not self.error


def body(prompt: str, tokens: int, **options: object) -> dict[str, object]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "options": {"temperature": 0, "num_predict": tokens, **options},
    }


async def stream(
    client: httpx.AsyncClient,
    request: dict[str, object],
    path: str = "/api/chat",
    pause_seconds: float = 0.0,
    pieces: float = math.inf,
) -> Seen:
    """`pause_seconds`: before each chunk is read; `pieces`: after so many the client disconnects."""
    seen = Seen()
    last = time.monotonic()
    try:
        async with client.stream("POST", path, json=request) as response:
            seen.status = response.status_code
            async for line in response.aiter_lines():
                now = time.monotonic()
                if seen.pieces:
                    seen.longest_gap_seconds = max(seen.longest_gap_seconds, now - last)
                last = now
                take(seen, line)
                if seen.pieces >= pieces:
                    return seen
                if pause_seconds:
                    await asyncio.sleep(pause_seconds)
                    last = time.monotonic()
    except httpx.ConnectError as error:
        seen.was_refused, seen.error = True, f"{type(error).__name__}: {error}"
    except httpx.HTTPError as error:
        seen.error = f"{type(error).__name__}: {error}"
    return seen


def take(seen: Seen, text: str) -> None:
    """One line of a stream."""
    line = json.loads(text)
    seen.pieces += 1
    if "error" in line:
        seen.error = str(line["error"])
        return
    message = line.get("message", line)
    assert isinstance(message, dict)
    seen.content += message.get("content", "") or message.get("response", "")
    seen.thinking += message.get("thinking", "")
    seen.calls += message.get("tool_calls", [])
    if line["done"]:
        seen.done = line


class Crowd:
    """Many streams at the same time."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=None)
        self.client = httpx.AsyncClient(
            base_url=url, timeout=_TIMEOUT_SECONDS, limits=limits, trust_env=False
        )
        self.tasks: list[asyncio.Task[Seen]] = []

    def send(self, requests: Sequence[dict[str, object]]) -> None:
        self.tasks += [asyncio.create_task(stream(self.client, request)) for request in requests]

    async def all_seen(self) -> list[Seen]:
        seen = await asyncio.gather(*self.tasks)
        await self.client.aclose()
        return seen
