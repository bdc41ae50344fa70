"""GenerateEvents to the bytes of Anthropic's messages, streamed and not.

Contract: ollama-contract.md, "Anthropic: messages".
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence

from starlette.responses import Response

from drover.errors import DroverError
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic.errors import error_response, new_request_id, stream_error_object
from frontend.api.blocks import Block, Blocks, Change, Kind, Step
from frontend.api.core.go_json import dumps, dumps_text
from frontend.api.wire import CONTENT_TYPE, ExtraFields, frame
from frontend.routing.backends.base import token_event

# Clients keep thinking blocks only with a signature, and send both back. This server signs nothing.
SIGNATURE = "unsigned"
_DELTAS = {
    Kind.THINKING: (b"thinking_delta", b"thinking"),
    Kind.TEXT: (b"text_delta", b"text"),
    Kind.CALL: (b"input_json_delta", b"partial_json"),
}
_PING = frame(b'{"type":"ping"}', b"ping")


class MessagesEncoder:
    """Encoder of one response. Implements frontend.api.response.ResponseEncoder.

    `stop_sequences`: the request's, of which the matched one is reported. `extra_fields`: fields outside
    Anthropic's API, added to the last object.
    """

    stream_content_type = CONTENT_TYPE

    def __init__(self, model: str, stop_sequences: Collection[str], extra_fields: ExtraFields = dict) -> None:
        self._model = model
        self._stop_sequences = stop_sequences
        self._extra_fields = extra_fields
        self._id = f"msg_{secrets.token_hex(12)}"
        self._blocks = Blocks()
        self._prompt_tokens = 0
        self._has_begun = False
        self._head = b""

    def lines(self, event: pb.GenerateEvent) -> bytes:
        """The server-sent events of an engine's event; empty if it has no output."""
        self._prompt_tokens += len(event.started.prompt_ids)
        frames = [self._step(step) for delta in event.deltas for step in self._blocks.feed(delta)]
        if event.HasField("done"):
            frames += [self._step(step) for step in self._blocks.end()]
            frames += self._end(event.done)
        if frames and not self._has_begun:
            self._has_begun = True
            frames.insert(0, self._start())
        return b"".join(frames)

    def token(self, text: str, token_id: int) -> bytes:
        """The server-sent event of one token, whose text is not empty."""
        if self._blocks.grow(text) is None:
            return self.lines(token_event(text, token_id, 0))
        return frame(self._head + dumps_text(text) + b"}}", b"content_block_delta")

    def body(self, events: Sequence[pb.GenerateEvent]) -> bytes:
        """The message of a response that is not streamed."""
        for event in events:
            for delta in event.deltas:
                self._blocks.gather(delta)
        done = events[-1].done
        content = [each for block in self._blocks.all if (each := _content(block)) is not None]
        reason = self._stop_reason(done)
        return dumps({**self._message(content, reason, _usage(done)), **self._extra_fields()})

    def heartbeat(self) -> bytes:
        return _PING

    def error_line(self, error: DroverError) -> bytes:
        return frame(stream_error_object(error, new_request_id()), b"error")

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return error_response(error)

    def _step(self, step: Step) -> bytes:
        change, block, text = step
        match change:
            case Change.GROWS:
                return frame(self._head + dumps_text(text) + b"}}", b"content_block_delta")
            case Change.BEGINS:
                return self._begin(block)
            case Change.ENDS:
                return _block_end(block)

    def _begin(self, block: Block) -> bytes:
        kind, member = _DELTAS[block.kind]
        self._head = b'{"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":' % (
            block.index,
            kind,
            member,
        )
        return _frame("content_block_start", {"index": block.index, "content_block": _empty(block)})

    def _start(self) -> bytes:
        """The first event, without the number of cached tokens, which the engine reports at the end."""
        usage = pb.Done(prompt_tokens=self._prompt_tokens)
        return _frame("message_start", {"message": self._message([], {}, _usage(usage))})

    def _end(self, done: pb.Done) -> list[bytes]:
        delta = {"delta": self._stop_reason(done), "usage": _usage(done)}
        return [_frame("message_delta", delta), _frame("message_stop", {**self._extra_fields()})]

    def _message(self, content: Sequence[Json], reason: dict[str, Json], usage: Json) -> dict[str, Json]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [*content],
            "stop_reason": reason.get("stop_reason"),
            "stop_sequence": reason.get("stop_sequence"),
            "usage": usage,
        }

    def _stop_reason(self, done: pb.Done) -> dict[str, Json]:
        if done.finish_reason == pb.Done.LENGTH:
            return {"stop_reason": "max_tokens", "stop_sequence": None}
        if done.matched_stop and done.matched_stop in self._stop_sequences:
            return {"stop_reason": "stop_sequence", "stop_sequence": done.matched_stop}
        calls = self._blocks.has_whole_call
        return {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}


def _frame(event: str, members: dict[str, Json]) -> bytes:
    return frame(dumps({"type": event, **members}), event.encode())


def _usage(done: pb.Done) -> Json:
    """The usage; `input_tokens` excludes cached tokens."""
    return {
        "input_tokens": done.prompt_tokens - done.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": done.cached_tokens,
        "output_tokens": done.completion_tokens,
    }


def _empty(block: Block) -> dict[str, Json]:
    """The block as `content_block_start` has it."""
    match block.kind:
        case Kind.THINKING:
            return {"type": "thinking", "thinking": "", "signature": ""}
        case Kind.TEXT:
            return {"type": "text", "text": ""}
        case Kind.CALL:
            return {"type": "tool_use", "id": block.call_id, "name": block.name, "input": {}}


def _content(block: Block) -> dict[str, Json] | None:
    """The complete block; None for a call that was cut off, or whose arguments are not an object."""
    match block.kind:
        case Kind.THINKING:
            return {**_empty(block), "thinking": block.text, "signature": SIGNATURE}
        case Kind.TEXT:
            return {**_empty(block), "text": block.text}
        case Kind.CALL:
            arguments = block.arguments
            return None if arguments is None else {**_empty(block), "input": arguments}


def _block_end(block: Block) -> bytes:
    stop = _frame("content_block_stop", {"index": block.index})
    if block.kind is not Kind.THINKING:
        return stop
    signature: Json = {"type": "signature_delta", "signature": SIGNATURE}
    return _frame("content_block_delta", {"index": block.index, "delta": signature}) + stop
