"""What the agents are asked to do, and what the simulator answers."""

from __future__ import annotations

from collections.abc import Sequence

from drover.json_value import Json
from tests.agents.programs import AGENTS, Agent

MODEL = "sim"
NOTES, OUT = "notes.txt", "out.txt"
WRITTEN = "written\n"
DONE = "All is done: the notes say what they said."
# An answer that takes four seconds.
WORDS = tuple(f"word{number:02}" for number in range(1, 41))
_WORD_MS = 100
_TITLE = "Generate a title for this conversation"


def question(agent: Agent, kind: str) -> str:
    return f"This is the {kind} task of {agent.name}."


def note(agent: Agent) -> str:
    """What the notes say: the result of the first call."""
    return f"note-of-{agent.name}-7421"


def second_result(agent: Agent) -> str:
    return f"second-of-{agent.name}-1108"


def script() -> list[Json]:
    title: Json = {"match": _TITLE, "events": [{"text": "A title"}]}
    return [title, *(entry for agent in AGENTS for entry in _of(agent))]


def _of(agent: Agent) -> Sequence[Json]:
    """`loop`: a call, then two parallel ones, then an answer. `slow`: an answer in words."""
    read: Json = {"tool_call": agent.shell(f"cat {NOTES}")}
    append: Json = {"tool_call": agent.shell(f"echo written >> {OUT}")}
    tell: Json = {"tool_call": agent.shell(f"echo {second_result(agent)}")}
    loop: list[tuple[str, list[Json]]] = [
        (question(agent, "loop"), [{"text": "I look. "}, read]),
        (second_result(agent), [{"text": DONE}]),
        (note(agent), [append, tell]),
        (question(agent, "slow call"), [*_slowly("."), append, tell]),
        (question(agent, "slow answer"), _slowly(" ")),
    ]
    return [{"match": match, "events": events} for match, events in loop]


def _slowly(between: str) -> list[Json]:
    pause: Json = {"pause_ms": _WORD_MS}
    return [event for word in WORDS for event in (_piece(f"{word}{between}"), pause)]


def _piece(text: str) -> Json:
    return {"text": text}
