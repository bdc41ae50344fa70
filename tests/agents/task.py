"""What the agents are asked to do, and what the simulator answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from drover.json_value import Json
from tests.agents.programs import AGENTS, COMPACTING, OTHER_WIRES, Agent

NOTES, OUT = "notes.txt", "out.txt"
WRITTEN = "written\n"
DONE = "All is done: the notes say what they said."
# An answer that takes four seconds.
WORDS = tuple(f"word{number:02}" for number in range(1, 41))
LATE_QUESTION = "This task takes a late tool."
LATE_TOOL = "CronList"
# To Claude Code, and to Codex.
PICTURE_QUESTIONS = ("Read the picture.", "View the picture.")
# To Codex, for the tools that are no functions in its requests.
PATCH_QUESTION = "This task patches a file."
SEARCH_QUESTION = "This task searches for a tool."
CLOSE_QUESTION = "This task closes an agent."
SLEEP_QUESTION = "This task sleeps."
_PICTURE = Path(__file__).parent / "picture.png"
_WORD_MS = 100
SUMMARY = "summary-6640: the numbers were counted, and the second command has run."
# Codex's own, and that of the frontend.
_SUMMARY_QUESTIONS = ("handoff summary", "Write a summary of it for an assistant")
_TITLE = "Generate a title for this conversation"


def question(agent: Agent, kind: str) -> str:
    return f"This is the {kind} task of {agent.name}."


def note(agent: Agent) -> str:
    """What the notes say: the result of the first call."""
    return f"note-of-{_word(agent)}-7421"


def second_result(agent: Agent) -> str:
    return f"second-of-{_word(agent)}-1108"


def _word(agent: Agent) -> str:
    return agent.name.replace(" ", "-")


def script() -> list[Json]:
    title: Json = {"match": _TITLE, "events": [{"text": "A title"}]}
    return [
        title,
        *_compactions(),
        *(entry for agent in (*AGENTS, *OTHER_WIRES) for entry in _of(agent)),
        *_late_tool(),
        *_pictures(),
        *_codex_tools(),
    ]


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


def _late_tool() -> Sequence[Json]:
    """Claude Code's search for a tool whose definition it keeps back, a call of that tool, and an answer. The
    search's result must say what the tool is; its name alone also stands in the prompt of every conversation.
    """
    search: Json = {"name": "ToolSearch", "arguments": {"query": f"select:{LATE_TOOL}"}}
    steps: list[tuple[str, Json]] = [
        (LATE_QUESTION, {"tool_call": search}),
        ("No scheduled jobs.", {"text": DONE}),
        (LATE_TOOL, {"tool_call": {"name": LATE_TOOL, "arguments": {}}}),
    ]
    return [{"match": match, "events": [event]} for match, event in steps]


def _codex_tools() -> Sequence[Json]:
    """A call of a custom tool, of the tool search and of what it finds, and of tools in namespaces."""
    patch = f"*** Begin Patch\n*** Add File: {OUT}\n+{WRITTEN}*** End Patch\n"
    close: Json = {"name": "multi_agent_v1.close_agent", "arguments": {"target": "none"}}
    calls: list[tuple[str, Json]] = [
        ('"name":"multi_agent_v1.close_agent"', close),
        (PATCH_QUESTION, {"name": "apply_patch", "arguments": {"input": patch}}),
        (SEARCH_QUESTION, {"name": "tool_search", "arguments": {"query": "close an agent"}}),
        (CLOSE_QUESTION, close),
        (SLEEP_QUESTION, {"name": "clock.sleep", "arguments": {"duration_ms": 10}}),
    ]
    return [{"match": match, "events": [{"tool_call": call}]} for match, call in calls]


def _pictures() -> Sequence[Json]:
    """A look at an image file, and an answer to the note that a model gets which cannot see."""
    calls: list[Json] = [
        {"name": "Read", "arguments": {"file_path": str(_PICTURE)}},
        {"name": "view_image", "arguments": {"path": str(_PICTURE)}},
    ]
    asked: list[Json] = [
        {"match": question, "events": [{"tool_call": call}]}
        for question, call in zip(PICTURE_QUESTIONS, calls, strict=True)
    ]
    return [*asked, {"match": "An image was left out", "events": [{"text": DONE}]}]


def _compactions() -> Sequence[Json]:
    """A call with a long result, a second one, after which the agent compacts, and an answer to the summary.
    A compacted conversation has no assistant's message, so what plays for it comes first.
    """
    return [entry for agent in COMPACTING for entry in _compaction(agent)]


def _compaction(agent: Agent) -> Sequence[Json]:
    word = _word(agent)
    bulk: Json = {"tool_call": agent.shell(f"seq 1 12000; echo bulk-of-{word}")}
    tell: Json = {"tool_call": agent.shell(f"echo {second_result(agent)}")}
    asked: list[tuple[str, Json]] = [
        *((each, _piece(SUMMARY)) for each in _SUMMARY_QUESTIONS),
        (SUMMARY, _piece(DONE)),
        (f"bulk-of-{word}", tell),
        (question(agent, "long"), bulk),
    ]
    return [{"match": match, "events": [event]} for match, event in asked]


def _slowly(between: str) -> list[Json]:
    pause: Json = {"pause_ms": _WORD_MS}
    return [event for word in WORDS for event in (_piece(f"{word}{between}"), pause)]


def _piece(text: str) -> Json:
    return {"text": text}
