"""A simulator that says what the recorded engine said, and a frontend before it.

The engine of the scripted recording played pieces of text that a parser had to read. What the parser made of
them stands in the recorded native answer to the same script, and that is what the simulator plays here. So
what is compared is the dialect alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.transcripts import Exchange, scripted_exchanges
from tests.support.processes import Stack, frontend, worker

# What our engine says where the recorded one went away, which upstream does not tell.
BROKEN = "the engine is gone"


def scripted(path: str) -> list[Exchange]:
    """The exchanges of one route that have a native one with the same script."""
    return [each for each in scripted_exchanges() if each.path == path and _twin(each) is not None]


def _twin(exchange: Exchange) -> Exchange | None:
    """The streamed chat that was asked the same, with the same tools, and was not cut at a count of tokens,
    which is another one here.
    """
    wanted = f"chat {_script(exchange)} stream" + (" tools" if exchange.case.endswith(" tools") else "")
    if " length " in exchange.case:
        return None
    return next((each for each in scripted_exchanges() if each.case == wanted), None)


def _script(exchange: Exchange) -> str:
    """The word in the request that made the recorded engine play its script; empty where there is none."""
    words: list[str] = re.findall(r"#\w+", exchange.body.decode())
    return words[-1] if words else ""


def _mark(exchange: Exchange) -> str:
    return f"#case{scripted_exchanges().index(exchange)}."


def body_of(exchange: Exchange) -> bytes:
    """The recorded body, with the exchange's own mark in place of the script's name, and with room: scripts
    are many of the simulator's tokens.
    """
    marked = exchange.body.replace(_script(exchange).encode(), _mark(exchange).encode())
    return marked.replace(b'"max_tokens": 50', b'"max_tokens": 5000')


@contextmanager
def scripted_stack(folder: Path, exchanges: Sequence[Exchange]) -> Iterator[Stack]:
    script = [_entry(exchange) for exchange in exchanges]
    # Whatever is played, the model can do both: capabilities come from the script.
    script.append({"match": "#never.", "events": [_think("x"), _call("f", {})]})
    (folder / "script.json").write_text(json.dumps(script))
    flags = ("--engine=simulator", "--model=thinker", f"--sim-script={folder / 'script.json'}")
    with (
        worker(folder / "worker.log", *flags) as one,
        frontend(folder / "frontend.log", [one.address]) as other,
    ):
        yield Stack(one, other)


def _entry(exchange: Exchange) -> dict[str, object]:
    twin = _twin(exchange)
    assert twin is not None
    lines = [json.loads(line) for line in twin.answer.splitlines()]
    events = [event for line in lines for event in _events(line)]
    if not lines[-1].get("done"):
        events.append({"fail": BROKEN})
    return {"match": _mark(exchange), "events": events}


def _events(line: Mapping[str, object]) -> Iterator[dict[str, object]]:
    message = line["message"]
    assert isinstance(message, dict)
    if message.get("thinking"):
        yield _think(message["thinking"])
    if message.get("content"):
        yield {"text": message["content"]}
    for call in message.get("tool_calls", ()):
        yield _call(call["function"]["name"], call["function"]["arguments"])


def _think(text: str) -> dict[str, object]:
    return {"thinking": text}


def _call(name: str, arguments: object) -> dict[str, object]:
    return {"tool_call": {"name": name, "arguments": arguments}}
