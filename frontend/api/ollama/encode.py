"""From GenerateEvents to Ollama's objects, as bytes.

Contract: ollama-contract.md, "Fields of an answer" and "Streams".

What does not change in a stream is encoded once; per delta only the text is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Protocol

import orjson

from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dumps, dumps_text
from frontend.api.core.timestamps import Clock
from frontend.api.logprobs import logprob_entries
from frontend.api.tool_calls import ToolCalls, WholeCall
from frontend.api.wire import ExtraFields, json_array, members

_DONE_REASONS = {pb.Done.STOP: b"stop", pb.Done.LENGTH: b"length"}


class Shape(Protocol):
    """How chat and generate differ. `tells_of_silence`: tokens without text are an object of their own."""

    @property
    def tells_of_silence(self) -> bool: ...

    def saw(self, event: pb.GenerateEvent) -> None:
        """Every event, before it is encoded."""

    def saw_token(self, token_id: int) -> None:
        """The same for one that comes without an event."""

    def text(self, content: bytes, thinking: bytes, tool_calls: bytes) -> bytes:
        """The member that holds the answer's text; the arguments are JSON, empty where there is nothing."""

    def without_context(self) -> Shape:
        """The same for a model whose token ids would be of no use."""

    def final(self, done: pb.Done, logprobs: bytes, metrics: bytes) -> bytes:
        """What follows `"done_reason":"…"` in the last object."""


class ChatShape:
    tells_of_silence = False

    def saw(self, event: pb.GenerateEvent) -> None:
        """A chat's last object repeats nothing of the others."""

    def saw_token(self, token_id: int) -> None:
        """As above."""

    def without_context(self) -> ChatShape:
        return self

    def text(self, content: bytes, thinking: bytes, tool_calls: bytes) -> bytes:
        return b'"message":{"role":"assistant","content":%b%b}' % (content, _beside(thinking, tool_calls))

    def final(self, done: pb.Done, logprobs: bytes, metrics: bytes) -> bytes:
        return logprobs + metrics


class GenerateShape:
    """`context` is the prompt's and the answer's token ids; a raw request gets none.

    Where a parser swallows text, or holds it back, Ollama writes an empty object ("generate #think stream").
    """

    tells_of_silence = True

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
        return b'"response":%b%b' % (content, _beside(thinking, tool_calls))

    def final(self, done: pb.Done, logprobs: bytes, metrics: bytes) -> bytes:
        context = b"" if self._raw else b',"context":' + orjson.dumps(self._ids)
        return context + metrics + logprobs


def _beside(thinking: bytes, tool_calls: bytes) -> bytes:
    members = b',"thinking":' + thinking if thinking else b""
    return members + b',"tool_calls":' + tool_calls if tool_calls else members


class Encoder:
    """One per answer. Times are of time.perf_counter_ns. `beside`: members of the last object that Ollama
    does not have.
    """

    def __init__(
        self,
        model: str,
        shape: Shape,
        received_ns: int,
        beside: ExtraFields = dict,
        clock: Clock | None = None,
    ) -> None:
        self._shape = shape
        self._head = b'{"model":' + dumps_text(model) + b',"created_at":"'
        self._clock = clock or Clock()
        self._received_ns = received_ns
        self._beside = beside
        self._calls = ToolCalls()

    def lines(self, event: pb.GenerateEvent) -> bytes:
        """The NDJSON lines of an event; empty when it shows nothing."""
        self._shape.saw(event)
        ends = event.HasField("done")
        deltas = _that_are_told(event) if ends else event.deltas
        if len(deltas) == 1 and not ends:
            line = self._delta(deltas[0])
            return line + b"\n" if line else b""
        lines = [line for delta in deltas if (line := self._delta(delta))]
        if ends:
            lines.append(self.whole(b'""', b"", b"", b"", event.done))
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
            if not (thinking or logprobs or calls) and not (delta.token_ids and self._shape.tells_of_silence):
                return b""
        return b'%b%b",%b,"done":false%b}' % (
            self._head,
            self._clock.now(),
            self._shape.text(dumps_text(content), thinking, calls),
            logprobs_member(logprobs) if logprobs else b"",
        )

    def silence(self) -> bytes:
        """A line that adds nothing to the answer."""
        return b'%b%b",%b,"done":false}\n' % (
            self._head,
            self._clock.now(),
            self._shape.text(b'""', b"", b""),
        )

    def _whole_calls(self, delta: pb.Delta) -> list[bytes]:
        return [_tool_call(call) for call in self._calls.feed(delta)] if delta.tool_calls else []

    def whole(
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
            members(self._beside),
        )

    def collected(self, events: Sequence[pb.GenerateEvent]) -> bytes:
        """The only object of an answer that is not streamed."""
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
        return self.whole(
            dumps_text("".join(content)),
            dumps_text(thought) if thought else b"",
            json_array(calls),
            logprobs_member(logprobs) if logprobs else b"",
            events[-1].done,
        )

    def plain(self, done_reason: str) -> bytes:
        """The answer to a load or unload request."""
        member = self._shape.text(b'""', b"", b"")
        return b'%b%b",%b,"done":true,"done_reason":"%b"}' % (
            self._head,
            self._clock.now(),
            member,
            done_reason.encode(),
        )

    def rendered(self, prompt: str) -> bytes:
        """The answer to `_debug_render_only`."""
        member = self._shape.text(b'""', b"", b"").replace(b'"role":"assistant"', b'"role":""')
        return b'%b%b",%b,"done":false,"_debug_info":{"rendered_template":%b}}' % (
            self._head,
            self._clock.now(),
            member,
            dumps_text(prompt),
        )

    def _metrics(self, done: pb.Done) -> bytes:
        """Go drops zeros, and clients divide by durations: a measured zero is written as one nanosecond."""
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
                (b"prompt_eval_duration", max(1, timings.prefill_ns)),
                (b"eval_count", done.completion_tokens),
                (b"eval_duration", max(1, timings.decode_ns)),
            )
            if value
        )


def _that_are_told(event: pb.GenerateEvent) -> Sequence[pb.Delta]:
    """The last event's deltas. Tokens without text at the very end are told by the end itself: those of a
    stop text, or ids that an engine knows only then.
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
