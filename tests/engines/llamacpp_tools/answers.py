"""Texts of the scripted model, and helpers that read its answers."""

from __future__ import annotations

import json
from collections.abc import Sequence

from drover.v1 import engine_pb2 as pb
from tests.support.answers import Answer
from tests.support.scripted_gguf import EOS

THOUGHT, ANSWER = "I think of the m", "Hello there"


CONTEXT_LENGTH = 512


SCRIPTS: Sequence[Sequence[str]] = (
    # After "assistant\n", where the model may think, and after "</think>\n\n", where it may not.
    ("Ċ", "<think>", "I", "Ġthink", "Ġof", "Ġthe", "Ġm", "</think>", "He", "ll", "o", "Ġthere", EOS),
    ("ĊĊ", "O", "k", ".", EOS),
    # Where it is made to call, or may not end.
    ("Ġthere", "<tool_call>", "Ċ", "{", '"'),
    (".", "<tool_call>"),
    ("Ġ}", "}", "</tool_call>", EOS),
    # Where a grammar wants a line of its own for it.
    ("Ċ", "</tool_call>"),
)


EOS_ID = 2


def parts_of(answer: Answer) -> list[pb.ToolCallDelta]:
    return [part for delta in answer.deltas for part in delta.tool_calls]


def names_of(answer: Answer) -> list[str]:
    return [call.name for call in answer.calls.values()]


def arguments_of(answer: Answer) -> object:
    """Of its first call."""
    return json.loads(answer.calls[0].arguments_json)


def counts_of(answer: Answer) -> list[int]:
    return [delta.completion_tokens for delta in answer.deltas]


FORMAT = json.dumps(
    {
        "type": "object",
        "properties": {"a": {"enum": ["xy"]}},
        "required": ["a"],
        "additionalProperties": False,
    }
)
