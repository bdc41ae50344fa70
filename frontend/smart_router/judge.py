"""The judge: a model that chooses one of a virtual model's sides for a request, which it gets as data.

A judge that can decide is asked for the probability of each side's letter, and generates nothing. Another
judge generates the side's label, which a constraint enforces if its engine can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

import orjson

from drover.errors import DroverError
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.decision.answer import Answer
from frontend.decision.question import Question as Choice
from frontend.decision.systemone import systemone_json
from frontend.models.virtual_definition import VirtualModel
from frontend.routing.backends.base import RequestHandle
from frontend.routing.backends.delivery import events_of
from frontend.smart_router.judge_prompt import CHOICE, Descriptions, letters_of, prompt_of, words_of
from frontend.smart_router.question import Question
from frontend.smart_router.route_decision import Reason, RouteDecision, Verdict

MAX_TOKENS = 48
"""Enough for the longest label that may be configured."""


def score_request(question: Question, sides: Descriptions, model: pb.Model) -> pb.ScoreRequest:
    letters = letters_of(sides)
    request = pb.ScoreRequest(model=model.names[0], items=[pb.ScoreItem(labels=letters)])
    messages = prompt_of(question, sides, letters)
    for role, content in messages:
        request.items[0].chat.messages.add(role=role, content=content)
    # A judge on an Ollama server makes its own prompt.
    _, data = messages[-1]
    choice = Choice("choice", CHOICE, list(sides), list(sides.values()))
    request.systemone_json = systemone_json(data, [choice])
    return request


def label_request(question: Question, sides: Descriptions, model: pb.Model) -> pb.GenerateRequest:
    """Greedy, a few tokens, without thinking, and constrained to the labels if the engine can constrain."""
    can, words = model.capabilities, words_of(sides)
    request = pb.GenerateRequest(
        model=model.names[0],
        sampling=pb.Sampling(
            temperature=0, repeat_penalty=1, presence_penalty=0, frequency_penalty=0, max_tokens=MAX_TOKENS
        ),
        think=pb.Think(mode=pb.Think.OFF if can.thinking else pb.Think.UNSET),
    )
    for role, content in prompt_of(question, sides, _quoted(words)):
        request.chat.messages.add(role=role, content=content)
    if can.json_constraint:
        request.json_schema = orjson.dumps(schema_of(sides)).decode()
    elif can.regex_constraint:
        request.regex = f'"({"|".join(words)})"'
    return request


def schema_of(sides: Descriptions) -> dict[str, Json]:
    return {"type": "string", "enum": list(words_of(sides))}


def side_of(text: str, sides: Descriptions) -> str | None:
    """The label of the side that a generated text names; None for other text."""
    named = dict(zip(words_of(sides), sides, strict=True))
    return named.get(text.strip().strip('"').strip())


async def decide_by_score(
    response: Awaitable[pb.ScoreResponse], sides: Descriptions, definition: VirtualModel
) -> RouteDecision:
    """The likeliest side; the default if no side is likely enough, or if the judge fails or is late."""

    async def decide() -> RouteDecision:
        return _of_scores((await response).results[0].logprobs, list(sides), definition)

    return await _in_time(decide(), definition)


async def decide_by_label(
    submit: Callable[[], RequestHandle], sides: Descriptions, definition: VirtualModel
) -> RouteDecision:
    """The side that is named in time, else the default. The request has ended in either case."""

    async def decide() -> RouteDecision:
        side = side_of(await _text_of(submit()), sides)
        if side is None:
            return RouteDecision(definition.default, Reason.JUDGE_UNCLEAR)
        return RouteDecision(side, Reason.JUDGE)

    return await _in_time(decide(), definition)


def _of_scores(logprobs: Sequence[float], labels: Sequence[str], definition: VirtualModel) -> RouteDecision:
    answer = Answer.of(logprobs)
    verdict = Verdict(answer.probabilities[answer.best], answer.label_mass)
    if verdict.label_mass < definition.min_label_mass:
        return RouteDecision(definition.default, Reason.JUDGE_UNCLEAR, verdict)
    if verdict.probability < definition.threshold:
        return RouteDecision(definition.default, Reason.JUDGE_UNSURE, verdict)
    return RouteDecision(labels[answer.best], Reason.JUDGE, verdict)


async def _in_time(decision: Awaitable[RouteDecision], definition: VirtualModel) -> RouteDecision:
    try:
        async with asyncio.timeout(definition.judge_timeout_seconds):
            return await decision
    except TimeoutError:
        return RouteDecision(definition.default, Reason.JUDGE_LATE)
    except DroverError:
        return RouteDecision(definition.default, Reason.JUDGE_FAILED)


async def _text_of(handle: RequestHandle) -> str:
    content = ""
    try:
        async with aclosing(events_of(handle)) as events:
            async for event in events:
                content += "".join(delta.content for delta in event.deltas)
    finally:
        handle.cancel()
    return content


def _quoted(words: Sequence[str]) -> list[str]:
    """As JSON strings, which is what a constraint makes of them."""
    return [f'"{word}"' for word in words]
