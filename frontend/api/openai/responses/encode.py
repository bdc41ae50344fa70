"""GenerateEvents to the bytes of responses, streamed and not (ollama-contract.md, "OpenAI: responses").

The part of a delta before its text is encoded once for each item; per delta only the text is encoded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from starlette.responses import Response

from drover.errors import DroverError, mapping_of
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.blocks import Block, Blocks, Change, Kind, Step
from frontend.api.core.go_json import dumps, dumps_text
from frontend.api.openai.errors import error_response, stream_error_text
from frontend.api.openai.responses.output import OutputItems, summary_part, text_part
from frontend.api.wire import COMMENT, CONTENT_TYPE, ExtraFields, frame
from frontend.routing.backends.base import token_event

_DELTA_EVENTS = {
    Kind.THINKING: b"response.reasoning_summary_text.delta",
    Kind.TEXT: b"response.output_text.delta",
    Kind.CALL: b"response.function_call_arguments.delta",
}


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
        self._number = 0
        self._head = b""
        self._tail = b""
        # Status of a block that ends; only the last block can be cut off.
        self._status = "completed"

    def lines(self, event: pb.GenerateEvent) -> bytes:
        """The server-sent events of an engine's event; empty if it has no output."""
        steps = [step for delta in event.deltas for step in self._blocks.feed(delta)]
        ends = event.HasField("done")
        frames = [] if self._number or not (steps or ends) else [self._begin()]
        frames += map(self._step, steps)
        if ends:
            self._status = _status(event.done)
            frames += map(self._step, self._blocks.end())
            frames.append(self._end(event.done))
        return b"".join(frames)

    def token(self, text: str, token_id: int) -> bytes:
        """The server-sent event of one token, whose text is not empty."""
        block = self._blocks.grow(text)
        return self.lines(token_event(text, token_id, 0)) if block is None else self._grow(block, text)

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
        return error_response(error)

    def error_line(self, error: DroverError) -> bytes:
        """The end of a failed stream.

        If only heartbeats were sent, the response begins first: OpenAI's client accepts no event before that.
        """
        beginning = b"" if self._number else self._begin()
        is_client_error = mapping_of(error).openai_type == "invalid_request_error"
        reported: dict[str, Json] = {
            "code": "invalid_prompt" if is_client_error else "server_error",
            "message": stream_error_text(error),
        }
        items = [self._output.item(block, "incomplete") for block in self._blocks.all]
        error_event = self._event("error", {**reported, "param": None})
        failed = {**self._response("failed", items), "error": reported}
        return beginning + error_event + self._event("response.failed", {"response": failed})

    def _begin(self) -> bytes:
        response = self._response("in_progress", [])
        return b"".join(
            self._event(name, {"response": response}) for name in ("response.created", "response.in_progress")
        )

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
            case Change.GROWS:
                return self._grow(block, text)
            case Change.BEGINS:
                return self._open(block)
            case Change.ENDS:
                return self._close(block)

    def _grow(self, block: Block, text: str) -> bytes:
        number, self._number = self._number, self._number + 1
        return frame(
            b"%b%b%b%d}" % (self._head, dumps_text(text), self._tail, number), _DELTA_EVENTS[block.kind]
        )

    def _open(self, block: Block) -> bytes:
        item_id = self._output.item_id(block)
        place = b'"item_id":%b,"output_index":%d' % (dumps_text(item_id), block.index)
        place_in_item = {
            Kind.THINKING: b',"summary_index":0',
            Kind.TEXT: b',"content_index":0',
            Kind.CALL: b"",
        }[block.kind]
        self._head = b'{"type":"%b",%b%b,"delta":' % (_DELTA_EVENTS[block.kind], place, place_in_item)
        self._tail = (
            b',"logprobs":[],"sequence_number":' if block.kind is Kind.TEXT else b',"sequence_number":'
        )
        begun = self._event(
            "response.output_item.added",
            {"output_index": block.index, "item": self._output.item(block, "in_progress")},
        )
        where = self._where(block)
        match block.kind:
            case Kind.THINKING:
                name, part = "response.reasoning_summary_part.added", summary_part("")
            case Kind.TEXT:
                name, part = "response.content_part.added", text_part("")
            case Kind.CALL:
                return begun
        return begun + self._event(name, {**where, "part": part})

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
                frames = self._event("response.function_call_arguments.done", {**where, "arguments": text})
        item = self._output.item(block, self._status)
        return frames + self._event("response.output_item.done", {"output_index": block.index, "item": item})

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


def usage_of(done: pb.Done) -> Json:
    """The usage object of a response."""
    return {
        "input_tokens": done.prompt_tokens,
        "input_tokens_details": {"cached_tokens": done.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": done.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": done.reasoning_tokens},
        "total_tokens": done.prompt_tokens + done.completion_tokens,
    }
