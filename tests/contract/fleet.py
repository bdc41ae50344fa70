"""The fleet that the contract's lines are asked of: one frontend, and a worker of each kind behind it.

`smol`: the real model, that of the recordings. `thinker`: the simulator, which says what SCRIPT tells it to.
`gguf-thinker`: llama.cpp with a model that thinks and calls a function. `vectors` and `gguf-vectors`: embed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.processes import Process, frontend, worker
from tests.support.scripted_gguf import EOS, THINKING_AND_TOOLS, write_scripted_gguf

ARGUMENTS = {"zip": 1, "city": "Paris"}
CALL = {"name": "get_weather", "arguments": ARGUMENTS}
SCRIPT = [
    {
        "match": "#think",
        "events": [{"thinking": "Let "}, {"thinking": "me."}, {"text": "Fi"}, {"text": "ne."}],
    },
    {
        "match": "#calls",
        "events": [{"text": "Look:"}, {"tool_call": CALL}, {"tool_call": {"name": "now", "arguments": {}}}],
    },
    {"match": "#markup", "events": [{"text": "<b>&amp;"}, {"text": "é\u2028"}]},
    {"match": "#pause", "events": [{"text": "one"}, {"pause_ms": 700}, {"text": "two"}]},
    {"match": "#endless", "events": [{"text": "one"}, {"pause_ms": 600_000}, {"text": "two"}]},
    {"match": "#late", "events": [{"text": "Hi"}, {"fail": "the engine broke"}]},
    {"match": "#early", "events": [{"fail": "the engine broke"}]},
]
# What the small GGUF says: thinking and a call; after a call or without thinking, "Ok.".
WORDS = (
    ("Ċ", "<think>", "I", "Ġthink", "</think>", "<tool_call>", "Ċ", "{", '"'),
    ("Ġ}", "}", "</tool_call>", EOS),
    ("ĊĊ", "O", "k", ".", EOS),
)
NAMES = {
    "smol:latest",
    "thinker:latest",
    "Org/Thinker:V1",
    "gguf-thinker:latest",
    "vectors:latest",
    "gguf-vectors:latest",
}
_JOINED_SECONDS = 30.0
VECTORS = ("--engine", "simulator", "--model", "vectors", "--task", "embed", "--context-length", "64")


@dataclass(frozen=True)
class FleetProcesses:
    frontend: Process
    smol: Process
    thinker: Process

    @property
    def url(self) -> str:
        return f"http://{self.frontend.address}"


@contextmanager
def whole_fleet(folder: Path, smol: Process) -> Iterator[FleetProcesses]:
    (folder / "script.json").write_text(json.dumps(SCRIPT))
    write_scripted_gguf(folder / "gguf-thinker.gguf", THINKING_AND_TOOLS, *WORDS)
    thinker = (
        "--engine=simulator", "--model=thinker", "--name=thinker", "--name=Org/Thinker:V1",
        f"--sim-script={folder / 'script.json'}",
    )  # fmt: skip
    gguf = ("--engine=llamacpp", f"--model={folder / 'gguf-thinker.gguf'}", "--slots=2")
    embeds = ("--name=gguf-vectors", "--task=embed", "--context-length=64")
    with ExitStack() as processes:
        begin = processes.enter_context
        workers = [
            smol,
            begin(worker(folder / "thinker.log", *thinker)),
            begin(worker(folder / "gguf.log", *gguf)),
            begin(worker(folder / "vectors.log", *VECTORS)),
            begin(worker(folder / "gguf-vectors.log", *gguf, *embeds)),
        ]
        front = begin(frontend(folder / "frontend.log", [each.address for each in workers]))
        fleet = FleetProcesses(front, smol, workers[1])
        _wait_for_all(fleet.url)
        yield fleet


def _wait_for_all(url: str) -> None:
    """The frontend is ready when one worker is."""
    deadline = time.monotonic() + _JOINED_SECONDS
    while {each["name"] for each in httpx.get(f"{url}/api/tags").json()["models"]} != NAMES:
        assert time.monotonic() < deadline, "not all workers have joined"
        time.sleep(0.05)
