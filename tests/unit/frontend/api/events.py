"""Short constructors of engine events."""

from __future__ import annotations

import re

from drover.v1 import engine_pb2 as pb

CREATED_AT = re.compile(rb'"created_at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z"')
DURATIONS = re.compile(rb'"(total_duration|load_duration)":[1-9]\d*')


def started(*ids: int) -> pb.GenerateEvent:
    return pb.GenerateEvent(started=pb.Started(prompt_ids=ids))


def content(text: str, *ids: int, logprobs: tuple[pb.TokenLogprob, ...] = ()) -> pb.GenerateEvent:
    return pb.GenerateEvent(deltas=[pb.Delta(content=text, token_ids=ids, logprobs=logprobs)])


def thinking(text: str) -> pb.GenerateEvent:
    return pb.GenerateEvent(deltas=[pb.Delta(thinking=text)])


def call(
    index: int, fragment: str = "", call_id: str = "", name: str = "", complete: bool = False
) -> pb.GenerateEvent:
    piece = pb.ToolCallDelta(
        index=index, id=call_id, name=name, arguments_fragment=fragment, complete=complete
    )
    return pb.GenerateEvent(deltas=[pb.Delta(tool_calls=[piece])])


def done(
    reason: pb.Done.FinishReason.ValueType = pb.Done.STOP,
    prompt_tokens: int = 16,
    completion_tokens: int = 8,
    timings: pb.Timings | None = None,
) -> pb.GenerateEvent:
    times = timings or pb.Timings(queue_ns=1, prefill_ns=9_851_000, decode_ns=56_104_000)
    return pb.GenerateEvent(
        done=pb.Done(
            finish_reason=reason,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            timings=times,
        )
    )


def logprob(token: bytes, value: float, *top: tuple[bytes, float]) -> pb.TokenLogprob:
    others = [pb.TokenLogprob.Alternative(token=other, logprob=chance) for other, chance in top]
    return pb.TokenLogprob(token=token, logprob=value, top=others)


def joined(*events: pb.GenerateEvent) -> pb.GenerateEvent:
    """One message that carries them all, as a slow stream gets it."""
    whole = pb.GenerateEvent()
    for event in events:
        whole.MergeFrom(event)
    return whole


def fixed(line: bytes) -> bytes:
    """The line with a `T` for its time and an `N` for durations that a clock decides."""
    return DURATIONS.sub(rb'"\1":N', CREATED_AT.sub(b'"created_at":"T"', line))
