"""One frontend in front of a chat model, a scripted model with tools and thinking, and an embedding model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.processes import Process, frontend, worker

SMOL, THINKER, VECTORS = "smol", "thinker", "vectors"
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
WEATHER_QUESTION = "What is the weather in Paris?"
HARD_QUESTION = "What is 17 times 23?"
LONG_QUESTION = "Count for ever."
# A slot is free so soon after its client has left, which else would be busy for ever. CI has other tests on
# the same cores meanwhile; tests/system/test_cancellation.py has the narrow limit.
FREED_SECONDS = 1.0
BROKEN_QUESTION = "Break down."
TWO_QUESTION = "What is the weather in Paris and in Rome?"
CHARGED_TWICE = "I was charged twice and want my money back."
# Probabilities of labels after prompts about that.
SCORES = {"yes": 0.3, "no": 0.1, "A": 0.05, "B": 0.35, "0": 0.05, "1": 0.1, "2": 0.05}
THOUGHTS = "Let me think."
PATCH_QUESTION = "Patch the notes."
FIND_QUESTION = "Find the customer."
SEARCH_QUESTION = "Search for tools."
# With escapes that JSON writes in several characters.
PATCH = '*** Begin Patch\n+"é" \\ \U0001f600\n*** End Patch\n'
# The tool's result, and the model's answer to it.
RAIN, IT_RAINS = "Rain.", "It rains in Paris."
# As Anthropic's clients offer the function that the scripts call.
ANTHROPIC_WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

_JOIN_SECONDS = 20.0
_POLL_SECONDS = 0.05
_SCRIPT = [
    {
        "match": WEATHER_QUESTION,
        "events": [
            {"thinking": THOUGHTS},
            {"tool_call": {"name": "get_weather", "arguments": {"city": "Paris"}}},
        ],
    },
    {"match": HARD_QUESTION, "events": [{"thinking": THOUGHTS}, {"text": "It is "}, {"text": "391."}]},
    {
        "match": TWO_QUESTION,
        "events": [
            {"text": "Let me look."},
            {"tool_call": {"name": "get_weather", "arguments": {"city": "Paris"}}},
            {"tool_call": {"name": "get_weather", "arguments": {"city": "Rome"}}},
        ],
    },
    {
        "match": PATCH_QUESTION,
        "events": [
            {"thinking": THOUGHTS},
            {"text": "I patch."},
            {"tool_call": {"name": "apply_patch", "arguments": {"input": PATCH}}},
        ],
    },
    {
        "match": FIND_QUESTION,
        "events": [{"tool_call": {"name": "crm.find", "arguments": {"input": "Ada"}}}],
    },
    {
        "match": SEARCH_QUESTION,
        "events": [{"tool_call": {"name": "tool_search", "arguments": {"query": "customers"}}}],
    },
    {"match": LONG_QUESTION, "events": [{"text": "more ", "repeat": 100_000}]},
    {"match": RAIN, "events": [{"text": IT_RAINS}]},
    {"match": CHARGED_TWICE, "scores": SCORES},
    {"match": BROKEN_QUESTION, "events": [{"text": "Well"}, {"fail": "the engine broke"}]},
]


@dataclass(frozen=True)
class Fleet:
    frontend: Process
    smol: Process
    thinker: Process
    vectors: Process

    @property
    def url(self) -> str:
        return f"http://{self.frontend.address}"


@contextmanager
def running_fleet(folder: Path) -> Iterator[Fleet]:
    script = folder / "script.json"
    script.write_text(json.dumps(_SCRIPT))
    chat = ("--engine", "llamacpp", "--name", SMOL, "--context-length", "2048", "--slots", "2")
    scripted = ("--engine", "simulator", "--model", THINKER, "--sim-script", str(script))
    embedding = ("--engine", "simulator", "--model", VECTORS, "--task", "embed")
    with ExitStack() as processes:
        workers = [
            processes.enter_context(worker(folder / f"{name}.log", *flags))
            for name, flags in ((SMOL, chat), (THINKER, scripted), (VECTORS, embedding))
        ]
        addresses = [each.address for each in workers]
        front = processes.enter_context(frontend(folder / "frontend.log", addresses))
        fleet = Fleet(front, *workers)
        _wait_until_all_joined(fleet)
        yield fleet


def served_names(url: str) -> set[str]:
    models = httpx.get(f"{url}/api/tags", timeout=5).json()["models"]
    return {model["name"] for model in models}


def _wait_until_all_joined(fleet: Fleet) -> None:
    wanted = {f"{name}:latest" for name in (SMOL, THINKER, VECTORS)}
    deadline = time.monotonic() + _JOIN_SECONDS
    while not wanted <= served_names(fleet.url):
        if time.monotonic() > deadline:
            raise AssertionError(f"not all workers have joined:\n{fleet.frontend.log_text()}")
        time.sleep(_POLL_SECONDS)
