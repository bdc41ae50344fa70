"""GenerateEvents to the bytes of responses, streamed and not (ollama-contract.md, "OpenAI: responses").

The part of a delta before its text is encoded once for each item; per delta only the text is encoded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from starlette.responses import Response

from drover.errors import DroverError
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.blocks import Block, Blocks, Change, Kind, Step
from frontend.api.core.go_json import dumps, dumps_text
from frontend.api.openai.responses.calls import ArgumentReader, arguments_of
from frontend.api.openai.responses.errors import failure, reported
from frontend.api.openai.responses.output import OutputItems, summary_part, text_part
from frontend.api.openai.responses.usage import UsageSoFar, usage_of
from frontend.api.wire import COMMENT, CONTENT_TYPE, ExtraFields, frame
from frontend.routing.backends.base import token_event

_THINKING_DELTA = b"response.reasoning_summary_text.delta"
_TEXT_DELTA = b"response.output_text.delta"


class ResponsesEncoder:
    """Encoder of one response. Implements frontend.api.response.ResponseEncoder.

    `echo`: the request's fields that a response repeats. `extra_fields`: fields outside OpenAI's API, added
    to the last object.
    """

    stream_content_type = CONTENT_TYPE

    def __init__(
        self, echo: Mapping[str, Json], output: OutputItems, extra_fields: ExtraFields = dict
    ) -> None:
        self._echo = echo
        self._output = output
        self._extra_fields = extra_fields
        self._created_at = int(time.time())
        self._blocks = Blocks()
        self._usage = UsageSoFar()
        self._number = 0
        self._head = b""
        self._tail = b""
        self._delta_event = b""
        # Of the open call.
        self._arguments: ArgumentReader | None = None
        # Status of a block that ends; only the last block can be cut off.
        self._status = "completed"

    def lines(self, event: pb.GenerateEvent) -> bytes:
        """The server-sent events of an engine's event; empty if it has no output."""
        self._usage.begin(event, self._number)
        steps = [step for delta in event.deltas for step in self._blocks.feed(delta)]
        ends = event.HasField("done")
        frames = [] if self._number or not (steps or ends) else [self._begin()]
        frames += map(self._step, steps)
        if ends:
            self._status = _status(event.done)
            frames += map(self._step, self._blocks.end())
            frames.append(self._end(event.done))
        self._usage.end(self._number)
        return b"".join(frames)

    def token(self, text: str, token_id: int) -> bytes:
        """The server-sent event of one token, whose text is not empty."""
        block = self._blocks.grow(text)
        return self.lines(token_event(text, token_id, 0)) if block is None else self._grow(text)

    def count(self, event: pb.GenerateEvent) -> None:
        """Count an event that is not shown, for the usage of a response that fails."""
        self._usage.begin(event, self._number)

    def body(self, events: Sequence[pb.GenerateEvent]) -> bytes:
        """The response object of a response that is not streamed."""
        for event in events:
            for delta in event.deltas:
                self._blocks.gather(delta)
        done = events[-1].done
        items = self._items(done)
        if all(block.kind is Kind.THINKING for block in self._blocks.all):
            # Without output text Ollama adds an empty message, except in streams.
            items.append(self._output.item(Block(Kind.TEXT, len(items)), _status(done)))
        return dumps({**self._response(_status(done), items, done), **self._extra_fields()})

    def heartbeat(self) -> bytes:
        return COMMENT

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return failure(error)

    def error_line(self, error: DroverError) -> bytes:
        """The end of a failed stream.

        If only heartbeats were sent, the response begins first: OpenAI's client accepts no event before that.
        There is no `error` event: Codex skips it.
        """
        usage_so_far = self._usage.usage(self._number)
        beginning = b"" if self._number else self._begin()
        items = [self._output.item(block, "incomplete") for block in self._blocks.all]
        response = {**self._response("failed", items), "error": reported(error), "usage": usage_so_far}
        return beginning + self._event("response.failed", {"response": response})

    def _begin(self) -> bytes:
        response = self._response("in_progress", [])
        events = [
            self._event(name, {"response": response}) for name in ("response.created", "response.in_progress")
        ]
        # They are no tokens, also where they come before the engine's first event.
        self._usage.end(self._number)
        return b"".join(events)

    def _end(self, done: pb.Done) -> bytes:
        status = _status(done)
        response = self._response(status, self._items(done), done)
        return self._event(f"response.{status}", {"response": {**response, **self._extra_fields()}})

    def _items(self, done: pb.Done) -> list[dict[str, Json]]:
        last = self._blocks.all[-1] if self._blocks.all else None
        return [
            self._output.item(block, _status(done) if block is last else "completed")
            for block in self._blocks.all
        ]

    def _step(self, step: Step) -> bytes:
        change, block, text = step
        match change:
            case Change.GROWS if self._arguments is not None:
                return self._grow_call(self._arguments, self._arguments.feed(text))
            case Change.GROWS:
                return self._grow(text)
            case Change.BEGINS:
                return self._open(block)
            case Change.ENDS:
                return self._close(block)

    def _grow(self, text: str) -> bytes:
        number, self._number = self._number, self._number + 1
        return frame(b"%b%b%b%d}" % (self._head, dumps_text(text), self._tail, number), self._delta_event)

    def _grow_call(self, arguments: ArgumentReader, text: str) -> bytes:
        """The delta of a call's arguments; empty where there are no deltas, or the text is not known yet."""
        return self._grow(text) if text and arguments.events else b""

    def _open(self, block: Block) -> bytes:
        begun = self._event(
            "response.output_item.added",
            {"output_index": block.index, "item": self._output.item(block, "in_progress")},
        )
        where = self._where(block)
        self._arguments = None
        match block.kind:
            case Kind.THINKING:
                self._delta_event, part = _THINKING_DELTA, summary_part("")
                begun += self._event("response.reasoning_summary_part.added", {**where, "part": part})
            case Kind.TEXT:
                self._delta_event, part = _TEXT_DELTA, text_part("")
                begun += self._event("response.content_part.added", {**where, "part": part})
            case Kind.CALL:
                self._arguments = ArgumentReader(self._output.origin_of(block))
                self._delta_event = f"{self._arguments.events}.delta".encode()
        beginning = dumps({"type": self._delta_event.decode(), **where})
        self._head = b'%b,"delta":' % beginning[:-1]
        self._tail = (
            b',"logprobs":[],"sequence_number":' if block.kind is Kind.TEXT else b',"sequence_number":'
        )
        return begun

    def _close(self, block: Block) -> bytes:
        text, where = block.text, self._where(block)
        match block.kind:
            case Kind.THINKING:
                frames = self._event("response.reasoning_summary_text.done", {**where, "text": text})
                part = summary_part(text)
                frames += self._event("response.reasoning_summary_part.done", {**where, "part": part})
            case Kind.TEXT:
                frames = self._event("response.output_text.done", {**where, "text": text, "logprobs": []})
                frames += self._event("response.content_part.done", {**where, "part": text_part(text)})
            case Kind.CALL:
                frames = self._close_call(block, where)
        item = self._output.item(block, self._status)
        return frames + self._event("response.output_item.done", {"output_index": block.index, "item": item})

    def _close_call(self, block: Block, where: Mapping[str, Json]) -> bytes:
        arguments, self._arguments = self._arguments, None
        if arguments is None or not arguments.events:
            return b""
        rest = self._grow_call(arguments, arguments.finish())
        whole = arguments_of(self._output.origin_of(block), block.text)
        return rest + self._event(f"{arguments.events}.done", {**where, arguments.member: whole})

    def _where(self, block: Block) -> dict[str, Json]:
        where: dict[str, Json] = {
            "item_id": self._output.item_id(block),
            "output_index": block.index,
        }
        match block.kind:
            case Kind.THINKING:
                where["summary_index"] = 0
            case Kind.TEXT:
                where["content_index"] = 0
        return where

    def _event(self, name: str, members: Mapping[str, Json]) -> bytes:
        number, self._number = self._number, self._number + 1
        return frame(dumps({"type": name, **members, "sequence_number": number}), name.encode())

    def _response(
        self, status: str, items: Sequence[Mapping[str, Json]], done: pb.Done | None = None
    ) -> dict[str, Json]:
        cut: Json = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self._output.response_id,
            "object": "response",
            "created_at": self._created_at,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "incomplete_details": cut,
            "output": [{**item} for item in items],
            "error": None,
            **self._echo,
            "usage": None if done is None else usage_of(done),
        }


def _status(done: pb.Done) -> str:
    return "incomplete" if done.finish_reason == pb.Done.LENGTH else "completed"
