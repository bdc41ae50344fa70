"""Clients that ask for everything a simulator can answer, and compare with the undisturbed answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.chaos.clients import Seen, body, stream
from tests.chaos_long.tally import Tally

_TIMEOUT_SECONDS = 90.0
_CONNECT_SECONDS = 30.0
_RETRY_SECONDS = 0.05
_SLOW_PAUSE_SECONDS = 0.1
_LEAVING = 0.1
_AT_A_TIME = 6
_MOST_PIECES_OF_WHO_LEAVES = 30
_LEAVES_UNANSWERED_SECONDS = 0.2
# 40 tokens a second; characters are split over tokens.
ENGINE = (
    *("--sim-decode-step-base-ms", "25", "--sim-decode-step-per-running-ms", "0"),
    *("--sim-answer-tokens-min", "5000", "--sim-answer-tokens-max", "5000"),
    *("--sim-prefill-tokens-per-second", "4000", "--sim-token-bytes", "2"),
)

_SCRIPTS: list[dict[str, object]] = [
    {
        "match": "#call",
        "events": [
            {"thinking": "Hm, 🐑 "},
            {"thinking": "let me see. ", "repeat": 20},
            {"text": "The répondre 世界 ", "repeat": 20},
            {"tool_call": {"name": "look", "arguments": {"where": "the hill"}}},
            {"text": "and so on ", "repeat": 20},
            {"tool_call": {"name": "look", "arguments": {"where": ["sheep", "🐑"]}}},
        ],
    },
    {
        "match": "#json",
        "events": [
            {"text": '{"flock": ['},
            {"text": '"🐑", "Straße", ', "repeat": 30},
            {"text": '"δρόμος"]}'},
        ],
    },
]
_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@dataclass
class Case:
    """A request with one right answer. `expected` is what an undisturbed fleet says."""

    name: str
    path: str
    request: dict[str, object]
    expected: Seen = field(default_factory=Seen)


def write_scripts(folder: Path) -> tuple[str, ...]:
    """Flags of a simulator that plays them."""
    path = folder / "scripts.json"
    path.write_text(json.dumps(_SCRIPTS))
    return ("--sim-script", str(path))


def cases() -> list[Case]:
    """All but those with stop texts, which are taken from answers."""
    texts = [_chat(f"text {number}", f"story {number}", 40 + 15 * number) for number in range(8)]
    prompts = [
        Case(f"generate {number}", "/api/generate", _prompt(f"once {number}", 80)) for number in range(3)
    ]
    long = "a long prompt with many words " * 250
    others = [
        _chat("long prompt", long, 30),
        _chat("seeded", "story", 90, temperature=1, seed=7),
        Case("system", "/api/generate", {**_prompt("on", 60), "system": "Be kind. 世界"}),
        Case("raw", "/api/generate", {**_prompt("bare", 60), "raw": True}),
        _with(_chat("call", "#call", 1000), tools=[_TOOL], think=True),
        _chat("large pieces", "#json", 1000),
    ]
    streamed = [*texts, *prompts, *others]
    whole = [_with(case, " whole", stream=False) for case in streamed]
    return [*streamed, *whole]


def with_stops(known: Sequence[Case]) -> list[Case]:
    """The same requests, stopped by a text out of the middle of their answers."""
    return [
        Case(
            f"{case.name} stop",
            case.path,
            {**case.request, "options": {**_options(case), "stop": [_middle(case.expected.content)]}},
        )
        for case in known
        if case.name.startswith("text")
    ]


async def learn(url: str, unknown: Sequence[Case]) -> None:
    """Asks an undisturbed fleet."""
    room = asyncio.Semaphore(_AT_A_TIME)
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False) as http:

        async def ask(case: Case) -> None:
            async with room:
                case.expected = await stream(http, case.request, case.path)
            assert case.expected.is_whole, (case.name, case.expected)

        await asyncio.gather(*map(ask, unknown))


async def known_cases(url: str) -> list[Case]:
    first = cases()
    await learn(url, first)
    stopped = with_stops(first)
    await learn(url, stopped)
    return [*first, *stopped]


class Traffic:
    """So many clients that ask one thing after the other, at any frontend. They try again where a connection
    is refused, and only there. `was_killed(frontend, since)`: times as of time.monotonic.
    """

    def __init__(
        self,
        urls: Sequence[str],
        known: Sequence[Case],
        dice: random.Random,
        tally: Tally,
        was_killed: Callable[[int, float], bool] = lambda frontend, since: False,
    ) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=4)
        self._https = [
            httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_SECONDS, limits=limits, trust_env=False)
            for url in urls
        ]
        self._known = known
        self._dice = dice
        self._tally = tally
        self._was_killed = was_killed
        self._over = asyncio.Event()
        self._clients: list[asyncio.Task[None]] = []

    def start(self, clients: int, leaving: float = _LEAVING) -> None:
        """`leaving`: which part of the requests is left by its client."""
        self._clients = [asyncio.create_task(self._keep_asking(leaving)) for _ in range(clients)]

    async def stop(self) -> None:
        """When all that was asked is answered."""
        self._over.set()
        await asyncio.gather(*self._clients)
        for http in self._https:
            await http.aclose()

    async def _keep_asking(self, leaving: float) -> None:
        while not self._over.is_set():
            case = self._dice.choice(self._known)
            if self._dice.random() < leaving:
                await self._ask_and_leave(case)
            else:
                await self._ask(case)

    async def _ask(self, case: Case) -> None:
        is_slow = self._dice.random() < 0.1
        pause = _SLOW_PAUSE_SECONDS if is_slow else 0.0
        deadline = time.monotonic() + _CONNECT_SECONDS
        while True:
            frontend = self._dice.randrange(len(self._https))
            began = time.monotonic()
            seen = await stream(self._https[frontend], case.request, case.path, pause)
            if not seen.was_refused or time.monotonic() > deadline:
                break
            await asyncio.sleep(_RETRY_SECONDS)
        what = f"{case.name}{' slow' if is_slow else ''} at frontend {frontend}"
        self._tally.saw(what, seen, case.expected, self._was_killed(frontend, began))

    async def _ask_and_leave(self, case: Case) -> None:
        """In any phase, also before anything is answered."""
        http = self._dice.choice(self._https)
        pieces = self._dice.randrange(_MOST_PIECES_OF_WHO_LEAVES)
        seconds = None if pieces else self._dice.uniform(0, _LEAVES_UNANSWERED_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                seen = await stream(http, case.request, case.path, pieces=max(1, pieces))
        except TimeoutError:
            seen = Seen()
        if not seen.was_refused:
            self._tally.sent += 1
            self._tally.left += 1


def _chat(name: str, prompt: str, tokens: int, **options: object) -> Case:
    return Case(name, "/api/chat", body(prompt, tokens, **options))


def _prompt(prompt: str, tokens: int) -> dict[str, object]:
    request = body("", tokens)
    del request["messages"]
    return {**request, "prompt": prompt}


def _with(case: Case, suffix: str = "", **more: object) -> Case:
    return Case(case.name + suffix, case.path, {**case.request, **more})


def _options(case: Case) -> dict[str, object]:
    options = case.request["options"]
    assert isinstance(options, dict)
    return options


def _middle(text: str) -> str:
    return text[len(text) // 2 :][:12]
