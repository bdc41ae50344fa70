"""An answer that was begun elsewhere: what its client has had is played again without being said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.answer import Answer
from engine_worker.engines.simulator.events import Event, Piece
from engine_worker.engines.simulator.tokens import bytes_of, bytes_of_all, rest_of_character, token_of
from engine_worker.output import base
from engine_worker.output.delivered_filter import DeliveredFilter
from engine_worker.output.mailbox import Mailbox


async def resume(answer: Answer, earlier: pb.Continuation, mailbox: Mailbox) -> None:
    """The answer goes on after the tokens that it has already; what of their text the client has not had is
    said first.
    """
    replayed = Mailbox()
    answer.replay(len(earlier.produced_ids), replayed)
    if not replayed.ready:
        return
    heard = DeliveredFilter(earlier)
    for delta in (await replayed.take()).deltas:
        for piece in _pieces(delta, earlier.tool_call_ids_sent):
            if (new := heard.new_part(piece)) is not None:
                _put(new, delta.completion_tokens, mailbox)


def add_earlier(done: pb.Done, earlier: pb.Continuation) -> None:
    """Counts and times are those of the whole."""
    done.cached_tokens = earlier.cached_tokens
    for name in ("queue_ns", "load_ns", "prefill_ns", "decode_ns"):
        setattr(done.timings, name, getattr(done.timings, name) + getattr(earlier.timings, name))


def begun_again(produced_ids: Sequence[int], text: Iterator[Event], is_same: bool) -> Iterator[Event]:
    """What was said stays. `is_same`: the text is the one that it was of; if not, it follows from its first
    word on, since anywhere else could be within a character. One that was begun is ended, as by a model.
    """
    yield from (Piece((each,), bytes_of(each)) for each in produced_ids)
    if is_same:
        text = islice(text, len(produced_ids), None)
    else:
        yield from (Piece((token_of(byte),), byte) for byte in rest_of_character(bytes_of_all(produced_ids)))
    yield from text


def _pieces(delta: pb.Delta, call_ids: Sequence[str]) -> Iterator[base.Piece]:
    if delta.content:
        yield base.Content(delta.content)
    if delta.thinking:
        yield base.Thinking(delta.thinking)
    for call in delta.tool_calls:
        call_id = call_ids[call.index] if call.index < len(call_ids) else call.id
        yield base.CallPart(call.index, call_id, call.name, call.arguments_fragment, call.complete)


def _put(piece: base.Piece, completion_tokens: int, mailbox: Mailbox) -> None:
    match piece:
        case base.Content(text):
            mailbox.content(text, (), completion_tokens)
        case base.Thinking(text):
            mailbox.thinking(text, (), completion_tokens)
        case base.CallPart():
            call = pb.ToolCallDelta(
                index=piece.index,
                id=piece.id,
                name=piece.name,
                arguments_fragment=piece.arguments,
                complete=piece.complete,
            )
            mailbox.tool_call(call, (), completion_tokens)
