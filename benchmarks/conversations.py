"""Multi-turn conversations of many users, generated from a seed: the same for every policy."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

_WORDS = ("sheep", "hill", "river", "drover", "gate", "road", "winter", "market", "lamb", "valley", "bridge")
_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """Each conversation has a long first message. `system_words`: length of the shared system message."""

    conversations: int
    turns: int
    system_words: int
    first_words: int = 350
    turn_words: int = 40
    answer_tokens: int = 40
    pause_seconds: float = 1.0
    spread_seconds: float = 6.0


@dataclass(slots=True)
class Seen:
    ttft_seconds: list[float] = field(default_factory=list)
    failures: int = 0


async def hold(url: str, model: str, crowd: Crowd, seed: int) -> Seen:
    """Run all conversations concurrently, with staggered starts."""
    seen = Seen()
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_SECONDS, limits=limits, trust_env=False) as http,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(crowd.conversations):
            dice = random.Random(f"{seed} {number}")
            tasks.create_task(_converse(http, model, crowd, dice, seen))
    return seen


async def _converse(
    http: httpx.AsyncClient, model: str, crowd: Crowd, dice: random.Random, seen: Seen
) -> None:
    messages = []
    if crowd.system_words:
        messages.append({"role": "system", "content": _text(random.Random(0), crowd.system_words)})
    await asyncio.sleep(dice.uniform(0, crowd.spread_seconds))
    for turn in range(crowd.turns):
        messages.append(
            {"role": "user", "content": _text(dice, crowd.turn_words if turn else crowd.first_words)}
        )
        body: dict[str, object] = {
            "model": model,
            "messages": messages,
            "options": {"temperature": 0, "num_predict": crowd.answer_tokens},
        }
        messages.append({"role": "assistant", "content": await _turn(http, body, seen)})
        await asyncio.sleep(dice.uniform(0.5, 1.5) * crowd.pause_seconds)


async def _turn(http: httpx.AsyncClient, body: dict[str, object], seen: Seen) -> str:
    began, content = time.monotonic(), ""
    async with http.stream("POST", "/api/chat", json=body) as response:
        async for line in response.aiter_lines():
            if not content:
                seen.ttft_seconds.append(time.monotonic() - began)
            piece = json.loads(line)
            if "error" in piece:
                seen.failures += 1
                return content
            content += piece["message"]["content"]
    return content


def _text(dice: random.Random, words: int) -> str:
    return " ".join(f"{dice.choice(_WORDS)}{dice.randrange(1000)}" for _ in range(words))


def sums(loads: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Hit rate and busiest/mean ratio, from the (cached, computed) prompt tokens of each worker."""
    cached = sum(each[0] for each in loads)
    whole = [sum(each) for each in loads]
    return cached / sum(whole), max(whole) / (sum(whole) / len(whole))
