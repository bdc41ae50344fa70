"""Collects a worker's streamed answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
import pytest

from drover.errors import DroverError
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from tests.support.engine_client import EngineClient


@dataclass
class Answer:
    started: pb.Started
    done: pb.Done
    content: str = ""
    thinking: str = ""
    ids: list[int] = field(default_factory=list)
    calls: dict[int, pb.ToolCall] = field(default_factory=dict)
    complete: set[int] = field(default_factory=set)
    logprobs: list[pb.TokenLogprob] = field(default_factory=list)
    deltas: list[pb.Delta] = field(default_factory=list)


async def answer_to(engine: EngineClient, request: pb.GenerateRequest) -> Answer:
    events = [event async for event in engine.generate(request)]
    answer = Answer(events[0].started, events[-1].done)
    answer.deltas = [delta for event in events for delta in event.deltas]
    for delta in answer.deltas:
        answer.content += delta.content
        answer.thinking += delta.thinking
        answer.ids += delta.token_ids
        answer.logprobs += delta.logprobs
        for part in delta.tool_calls:
            call = answer.calls.setdefault(part.index, pb.ToolCall())
            call.id += part.id
            call.name += part.name
            call.arguments_json += part.arguments_fragment
            if part.complete:
                answer.complete.add(part.index)
    return answer


async def tokens_of(engine: EngineClient, text: str) -> list[int]:
    return list((await engine.stub.Tokenize(pb.TokenizeRequest(text=text))).ids)


async def text_of(engine: EngineClient, ids: list[int]) -> str:
    return (await engine.stub.Detokenize(pb.DetokenizeRequest(ids=ids))).text


async def token_of(engine: EngineClient, text: str) -> int:
    ids = await tokens_of(engine, text)
    assert len(ids) == 1, f"{text!r} is not one token here: {ids}"
    return ids[0]


async def rest_of(
    call: grpc.aio.UnaryStreamCall[pb.GenerateRequest, pb.GenerateEvent],
) -> list[pb.GenerateEvent]:
    """What is left of a call that was begun to be read."""
    events = []
    while isinstance(event := await call.read(), pb.GenerateEvent):
        events.append(event)
    return events


async def error_of(engine: EngineClient, request: pb.GenerateRequest) -> DroverError:
    """The error of a request that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await answer_to(engine, request)
    return error_from_status(failed.value)


async def short_json_bias(engine: EngineClient) -> dict[int, float]:
    """Makes random weights write short JSON: what ends it is likely."""
    return {await token_of(engine, text): 100.0 - at for at, text in enumerate(("}", '"', "{"))}
