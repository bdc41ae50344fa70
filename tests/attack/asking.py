"""Requests of hostile clients that must end with an error in Ollama's form."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx

from tests.attack.rude import ATTACKER

_TIMEOUT_SECONDS = 60.0
# What a stream's first line or an answer's status says of it; 500: as Ollama for what cannot be pulled.
REFUSALS = frozenset({400, 404, 413, 500, 503, 507})


@dataclass(frozen=True)
class Refusal:
    """`status`: of the answer. Of a stream that failed after its first line it is 200."""

    status: int
    error: str


def asking(url: str, seconds: float = _TIMEOUT_SECONDS) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        timeout=seconds,
        transport=httpx.AsyncHTTPTransport(local_address=ATTACKER, limits=httpx.Limits(max_connections=None)),
        trust_env=False,
    )


async def refused(
    http: httpx.AsyncClient, path: str, body: Mapping[str, object] | bytes, method: str = "POST"
) -> Refusal:
    """Raises AssertionError for an answer that is no error in Ollama's form, or a defect of the server."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await http.request(method, path, content=content)
    refusal = refusal_of(answer)
    assert refusal is not None, f"{method} {path} {content[:200]!r} was taken: {answer.text[-300:]}"
    return refusal


def refusal_of(answer: httpx.Response) -> Refusal | None:
    """None if it was taken."""
    lines = [json.loads(line) for line in answer.text.splitlines()]
    last = lines[-1] if lines else {}
    if answer.status_code == 200:
        if "error" not in last:
            return None
    else:
        assert answer.status_code in REFUSALS, f"{answer.status_code}: {answer.text[-300:]}"
        assert len(lines) == 1
    assert set(last) == {"error"}, last
    assert isinstance(last["error"], str)
    assert last["error"]
    assert "internal" not in last["error"], last
    return Refusal(answer.status_code, last["error"])


async def all_refused(
    http: httpx.AsyncClient, path: str, bodies: Sequence[Mapping[str, object]]
) -> Counter[int]:
    """All at once. How many had each status."""
    found = await asyncio.gather(*(refused(http, path, body) for body in bodies))
    return Counter(each.status for each in found)
