"""A smart router's processes: a scripted judge, a small model next to it, and a large one on another
frontend, which the first one sees as an Ollama server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import Process, frontend, worker
from tests.support.waiting import wait_until

Script = Sequence[Mapping[str, object]]
Body = dict[str, Any]

MODEL, REASON = "x-drover-routed-model", "x-drover-route-reason"
PROBABILITY = "x-drover-route-probability"
NAMES = {"simple": "small:latest", "complex": "big:latest"}
TEXTS = {"simple": "small says", "complex": "large says"}

PROMPTS = {
    "hello there": "simple",
    "what is the capital of France": "simple",
    "translate cat into German": "simple",
    "define entropy": "simple",
    "how old is the sun": "simple",
    "prove that there are infinitely many primes": "complex",
    "write an essay about the sea": "complex",
    "plan a trip through five countries": "complex",
    "refactor this program": "complex",
    "compare three theories of justice": "complex",
}
_TOOL_CALL = {"name": "get_weather", "arguments": {"city": "Paris"}}
# Played where an entry's text is in the last user message, which for the judge is its question.
# It scores a letter for each side; clients with a judge of their own have it generate the label.
_SIMPLE: Mapping[str, object] = {"events": [{"text": '"SIMPLE"'}], "scores": {"A": 0.8, "B": 0.1}}
_COMPLEX: Mapping[str, object] = {"events": [{"text": '"COMPLEX"'}], "scores": {"A": 0.1, "B": 0.8}}
JUDGE: Script = [
    {"match": "#slow", "events": [{"pause_ms": 60_000}, {"text": '"COMPLEX"'}], "scores": {"B": 0.9}},
    {"match": "#broken", "events": [{"fail": "the judge broke"}], "scores": {"B": 0.9}},
    {"match": "#unclear", "events": [{"text": '"MAYBE"'}], "scores": {"A": 0.003, "B": 0.006}},
    {"match": "#unsure", "scores": {"A": 0.55, "B": 0.45}},
    {"match": "#law", "scores": {"A": 0.1, "B": 0.2, "C": 0.6}},
    {"match": "#big", **_COMPLEX},
    *({"match": prompt, **(_SIMPLE if label == "simple" else _COMPLEX)} for prompt, label in PROMPTS.items()),
    {"match": "", **_SIMPLE},
]


def side(name: str) -> Script:
    said = [{"text": f"{name} "}, {"text": "says"}]
    return [
        {"match": f"#early-{name}", "events": [{"fail": f"{name} broke"}]},
        {"match": f"#late-{name}", "events": [{"text": name}, {"fail": f"{name} broke"}]},
        {"match": "#endless", "events": [{"text": "one"}, {"pause_ms": 600_000}, {"text": "two"}]},
        {"match": "#think", "events": [{"thinking": "Hm."}, *said]},
        {"match": "#call", "events": [{"tool_call": _TOOL_CALL}]},
        {"match": "", "events": said},
    ]


# On busy cores a judge that answers at once has taken more than the second of the default.
_PATIENT = {"judge": "judge", "judge_timeout_seconds": 2}
ROUTERS = {
    "auto": {**_PATIENT, "simple": "small", "complex": "big"},
    "careful": {
        **_PATIENT,
        "simple": "small",
        "complex": "big",
        "default": "complex",
        "threshold": 0.6,
    },
    "kinds": {
        "judge": "judge",
        "default": "chat",
        "judge_timeout_seconds": 10,
        "models": {
            "code": {"model": "small", "description": "program code"},
            "chat": {"model": "big", "description": "small talk"},
            "law": {"model": "judge", "description": "questions about the law"},
        },
    },
    "tagged:7b": {**_PATIENT, "simple": "small", "complex": "big"},
    # It hides its complex side.
    "big": {**_PATIENT, "simple": "small", "complex": "big"},
    "lonely": {**_PATIENT, "simple": "small", "complex": "nowhere"},
}


@dataclass(frozen=True)
class Routers:
    """`far` serves `large`, which `near` knows as `big`."""

    near: Process
    far: Process
    judge: Process
    small: Process
    large: Process

    @property
    def url(self) -> str:
        return f"http://{self.near.address}"

    @property
    def far_url(self) -> str:
        return f"http://{self.far.address}"


@contextmanager
def routers(folder: Path, *flags: str) -> Iterator[Routers]:
    with ExitStack() as processes:
        begin = processes.enter_context

        def simulator(name: str, script: Script) -> Process:
            (folder / f"{name}.json").write_text(json.dumps(script))
            play = f"--sim-script={folder / f'{name}.json'}"
            return begin(worker(folder / f"{name}.log", "--engine=simulator", f"--model={name}", play))

        judge = simulator("judge", JUDGE)
        small = simulator("small", side("small"))
        large = simulator("large", side("large"))
        far = begin(frontend(folder / "far.log", [large.address]))
        hosted = f"ollama:http://{far.address}/large#big"
        near = begin(
            frontend(
                folder / "near.log",
                [judge.address, small.address, hosted],
                "--smart-routers",
                json.dumps(ROUTERS),
                *flags,
            )
        )
        started = Routers(near, far, judge, small, large)
        wait_until(lambda: {"judge", "small", "big"} <= served(started.url), 30, "all models are there")
        yield started


def served(url: str) -> set[str]:
    models = httpx.get(f"{url}/api/tags").json()["models"]
    return {model["name"].removesuffix(":latest") for model in models}


def ask(
    running: Routers,
    content: str,
    model: str = "auto",
    headers: dict[str, str] | None = None,
    **body: object,
) -> httpx.Response:
    asked = {"model": model, "messages": [{"role": "user", "content": content}], "stream": False, **body}
    return httpx.post(f"{running.url}/api/chat", json=asked, headers=headers, timeout=30)


def went(answer: httpx.Response) -> tuple[str, str]:
    """The side that answered, and why, as all parts of the answer say it."""
    assert answer.status_code == 200, answer.text
    said = answer.json()
    (side,) = (side for side, name in NAMES.items() if name == answer.headers[MODEL])
    assert said["message"]["content"] == TEXTS[side]
    assert said["routed_model"] == answer.headers[MODEL]
    assert said["route_reason"] == answer.headers[REASON]
    return side, answer.headers[REASON]
