"""Encodes GenerateEvents as Ollama's objects (ollama-contract.md, "Fields of an answer" and "Streams").

The parts that do not change in a stream are encoded once; per delta only the text is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Protocol

import orjson
from starlette.responses import Response

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dumps, dumps_text
from frontend.api.core.go_values import Clock
from frontend.api.logprobs import logprob_entries
from frontend.api.ollama.errors import error_object, error_response
from frontend.api.tool_calls import ToolCalls, WholeCall
from frontend.api.wire import JSON, ExtraFields, encode_extra_fields, json_array

_CACHED_COUNT = b"prompt_eval_cached_count"
_DONE_REASONS = {pb.Done.STOP: b"stop", pb.Done.LENGTH: b"length"}


class Shape(Protocol):
    """How chat and generate differ. `sends_empty_text`: tokens without text get an object of their own."""

    @property
    def sends_empty_text(self) -> bool: ...

    def saw(self, event: pb.GenerateEvent) -> None:
        """Called with every event, before it is encoded."""

    def saw_token(self, token_id: int) -> None:
        """Called with every token that comes without an event."""

    def text(self, content: bytes, thinking: bytes, tool_calls: bytes) -> bytes:
        """The field that holds the text. Arguments are JSON; `thinking` and `tool_calls` may be empty."""

    def without_context(self) -> Shape:
        """The same shape for a model whose token ids clients cannot use."""

    def final(self, done: pb.Done, logprobs: bytes, metrics: bytes) -> bytes:
        """The fields after `"done_reason":"…"` in the last object."""


class ChatShape:
    sends_empty_text = False

    def saw(self, event: pb.GenerateEvent) -> None:
        """A chat's last object has no token ids."""

    def saw_token(self, token_id: int) -> None:
        """As above."""

    def without_context(self) -> ChatShape:
        return self

    def text(self, content: bytes, thinking: bytes, tool_calls: bytes) -> bytes:
        return b'"message":{"role":"assistant","content":%b%b}' % (
            content,
            _optional_fields(thinking, tool_calls),
        )

    def final(self, done: pb.Done, logprobs: bytes, metrics: bytes) -> bytes:
        return logprobs + metrics


class GenerateShape:
    """`context` is the prompt's and the answer's token ids; a raw request gets none.

    Where a parser drops text or holds it back, Ollama writes an empty object ("generate #think stream").
    """

    sends_empty_text = True

    def __init__(self, raw: bool) -> None:
        self._raw = raw
        self._ids: list[int] = []

    def saw(self, event: pb.GenerateEvent) -> None:
        if not self._raw:
            self._ids.extend(event.started.prompt_ids)
            for delta in event.deltas:
                self._ids.extend(delta.token_ids)

    def saw_token(self, token_id: int) -> None:
        if not self._raw:
            self._ids.append(token_id)

    def without_context(self) -> GenerateShape:
        return GenerateShape(raw=True)

    def text(self, content: bytes, thinking: bytes, tool_calls: bytes) -> bytes:
        return b'"response":%b%b' % (content, _optional_fields(thinking, tool_calls))

    def final(self, done: pb.Done, logprobs: bytes, metrics: bytes) -> bytes:
        context = b"" if self._raw else b',"context":' + orjson.dumps(self._ids)
        return context + metrics + logprobs


def _optional_fields(thinking: bytes, tool_calls: bytes) -> bytes:
    fields = b',"thinking":' + thinking if thinking else b""
    return fields + b',"tool_calls":' + tool_calls if tool_calls else fields


class OllamaEncoder:
    """Implements frontend.api.response.ResponseEncoder. `received_ns`: of time.perf_counter_ns;
    `extra_fields`: added to the last object, which Ollama does not have.
    """

    stream_content_type = b"application/x-ndjson"

    def __init__(
        self,
        model: str,
        shape: Shape,
        received_ns: int,
        extra_fields: ExtraFields = dict,
        clock: Clock | None = None,
    ) -> None:
        self._shape = shape
        self._head = b'{"model":' + dumps_text(model) + b',"created_at":"'
        self._clock = clock or Clock()
        self._received_ns = received_ns
        self._extra_fields = extra_fields
        self._calls = ToolCalls()

    def lines(self, event: pb.GenerateEvent) -> bytes:
        """The NDJSON lines of an event; empty where it shows nothing."""
        self._shape.saw(event)
        ends = event.HasField("done")
        deltas = _deltas_before_end(event) if ends else event.deltas
        if len(deltas) == 1 and not ends:
            line = self._delta(deltas[0])
            return line + b"\n" if line else b""
        lines = [line for delta in deltas if (line := self._delta(delta))]
        if ends:
            lines.append(self._last_object(b'""', b"", b"", b"", event.done))
        return b"\n".join(lines) + b"\n" if lines else b""

    def token(self, text: str, token_id: int) -> bytes:
        """The line of one token, whose text is not empty."""
        self._shape.saw_token(token_id)
        shown = self._shape.text(dumps_text(text), b"", b"")
        return b'%b%b",%b,"done":false}\n' % (self._head, self._clock.now(), shown)

    def _delta(self, delta: pb.Delta) -> bytes:
        content, logprobs, calls, thinking = delta.content, delta.logprobs, b"", b""
        if not content:
            calls = json_array(self._whole_calls(delta))
            thinking = dumps_text(delta.thinking) if delta.thinking else b""
            if not (thinking or logprobs or calls) and not (delta.token_ids and self._shape.sends_empty_text):
                return b""
        return b'%b%b",%b,"done":false%b}' % (
            self._head,
            self._clock.now(),
            self._shape.text(dumps_text(content), thinking, calls),
            logprobs_member(logprobs) if logprobs else b"",
        )

    def heartbeat(self) -> bytes:
        """A line that adds nothing to the answer."""
        return b'%b%b",%b,"done":false}\n' % (
            self._head,
            self._clock.now(),
            self._shape.text(b'""', b"", b""),
        )

    def _whole_calls(self, delta: pb.Delta) -> list[bytes]:
        return [_tool_call(call) for call in self._calls.feed(delta)] if delta.tool_calls else []

    def _last_object(
        self, content: bytes, thinking: bytes, tool_calls: bytes, logprobs: bytes, done: pb.Done
    ) -> bytes:
        """The last object of a stream, or the only one of an answer that is not streamed."""
        reason = _DONE_REASONS.get(done.finish_reason, b"stop")
        return b'%b%b",%b,"done":true,"done_reason":"%b"%b%b}' % (
            self._head,
            self._clock.now(),
            self._shape.text(content, thinking, tool_calls),
            reason,
            self._shape.final(done, logprobs, self._metrics(done)),
            encode_extra_fields(self._extra_fields),
        )

    def body(self, events: Sequence[pb.GenerateEvent]) -> bytes:
        """The only object of a response that is not streamed."""
        content, thinking, calls = [], [], []
        logprobs: list[pb.TokenLogprob] = []
        for event in events:
            self._shape.saw(event)
            for delta in event.deltas:
                content.append(delta.content)
                thinking.append(delta.thinking)
                logprobs.extend(delta.logprobs)
                calls += self._whole_calls(delta)
        thought = "".join(thinking)
        return self._last_object(
            dumps_text("".join(content)),
            dumps_text(thought) if thought else b"",
            json_array(calls),
            logprobs_member(logprobs) if logprobs else b"",
            events[-1].done,
        )

    def error_line(self, error: DroverError) -> bytes:
        return error_object(error) + b"\n"

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return error_response(error, "application/json" if streamed else JSON)

    def plain(self, done_reason: str) -> bytes:
        """The response to a load or unload request."""
        member = self._shape.text(b'""', b"", b"")
        return b'%b%b",%b,"done":true,"done_reason":"%b"}' % (
            self._head,
            self._clock.now(),
            member,
            done_reason.encode(),
        )

    def rendered(self, prompt: str) -> bytes:
        """The response to `_debug_render_only`."""
        member = self._shape.text(b'""', b"", b"").replace(b'"role":"assistant"', b'"role":""')
        return b'%b%b",%b,"done":false,"_debug_info":{"rendered_template":%b}}' % (
            self._head,
            self._clock.now(),
            member,
            dumps_text(prompt),
        )

    def _metrics(self, done: pb.Done) -> bytes:
        """Go omits zeros, and clients divide by durations: a measured zero is written as one nanosecond. The
        cached count is a pointer in Go: its zero is written.
        """
        timings = done.timings
        total_ns = max(1, time.perf_counter_ns() - self._received_ns)
        load_ns = max(1, total_ns - timings.prefill_ns - timings.decode_ns)
        waited_ns = timings.queue_ns + timings.load_ns
        return b"".join(
            b',"%b":%d' % (name, value)
            for name, value in (
                (b"total_duration", total_ns),
                (b"load_duration", max(1, min(load_ns, waited_ns))),
                (b"prompt_eval_count", done.prompt_tokens),
                (_CACHED_COUNT, done.cached_tokens),
                (b"prompt_eval_duration", max(1, timings.prefill_ns)),
                (b"eval_count", done.completion_tokens),
                (b"eval_duration", max(1, timings.decode_ns)),
            )
            if value or name is _CACHED_COUNT
        )


def _deltas_before_end(event: pb.GenerateEvent) -> Sequence[pb.Delta]:
    """The last event's deltas, without tokens that have no text: the last object reports those. They belong
    to a stop text, or the engine sends their ids only then.
    """
    if not event.deltas:
        return event.deltas
    last = event.deltas[-1]
    shows_something = last.content or last.thinking or last.logprobs or last.tool_calls
    return event.deltas if shows_something else event.deltas[:-1]


def _tool_call(call: WholeCall) -> bytes:
    return b'{"id":%b,"function":{"index":%d,"name":%b,"arguments":%b}}' % (
        dumps_text(call.id),
        call.index,
        dumps_text(call.name),
        dumps(call.arguments),
    )


def logprobs_member(logprobs: Iterable[pb.TokenLogprob]) -> bytes:
    """`,"logprobs":[…]`."""
    return b',"logprobs":' + dumps(logprob_entries(logprobs))
