"""A conversation as Ollama's clients write it: the judge's call for it, and how its answer is read."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TypedDict

import httpx
import ollama

from drover.v1 import engine_pb2 as pb
from frontend.models.virtual_definition import COMPLEX, SIMPLE, SIMPLE_OR_COMPLEX
from frontend.smart_router.judge import MAX_TOKENS, schema_of, side_of
from frontend.smart_router.judge_prompt import prompt_of, words_of
from frontend.smart_router.question import Question

# What the ollama client raises when its host fails; the last three for a response that is not Ollama's.
FAILURES = (ollama.ResponseError, ConnectionError, httpx.HTTPError, ValueError, TypeError, AttributeError)

Messages = Sequence[Mapping[str, object]]


class JudgeCall(TypedDict):
    """Arguments of the ollama client's chat."""

    model: str
    messages: list[dict[str, str]]
    format: dict[str, object] | None
    options: dict[str, float]
    think: bool


def messages_of(prompt: str, messages: Messages | None) -> Messages:
    return [{"role": "user", "content": prompt}] if messages is None else messages


def judge_call(messages: Messages, model: str) -> JudgeCall:
    """The call that asks for a label, with the last user message and a summary of the rest as data."""
    chat = pb.ChatInput()
    for message in messages:
        chat.messages.add(role=_text(message.get("role")), content=_text(message.get("content")))
    question = Question.of(pb.GenerateRequest(chat=chat))
    prompt = prompt_of(question, SIMPLE_OR_COMPLEX, words_of(SIMPLE_OR_COMPLEX))
    return JudgeCall(
        model=model,
        messages=[{"role": role, "content": content} for role, content in prompt],
        format=dict(schema_of(SIMPLE_OR_COMPLEX)),
        options={"temperature": 0, "num_predict": MAX_TOKENS},
        think=False,
    )


def without_format(call: JudgeCall, refusal: ollama.ResponseError) -> JudgeCall:
    """The call for a host that refuses `format`. Raises any other refusal."""
    if "support format" not in refusal.error:
        raise refusal
    return {**call, "format": None}


def choice_of(label: str | None) -> tuple[str, str]:
    """The side and the reason. For text that is no label the local side, as SGLang's router does."""
    side = side_of(label or "", SIMPLE_OR_COMPLEX)
    if side == COMPLEX:
        return side, "Complex task"
    return SIMPLE, "Simple task" if side else "Judge unclear, defaulting to local"


def forced_side(force_local: bool, force_remote: bool) -> tuple[str, str] | None:
    if force_remote:
        return COMPLEX, "Forced remote"
    return (SIMPLE, "Forced local") if force_local else None


def other_side(side: str) -> str:
    return SIMPLE if side == COMPLEX else COMPLEX


def write_line(is_verbose: bool, text: str) -> None:
    if is_verbose:
        sys.stdout.write(f"[Router] {text}\n")
        sys.stdout.flush()


def _text(value: object) -> str:
    """The texts of a list of parts, one a line."""
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else []
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part)
