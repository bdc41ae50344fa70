"""From GenerateEvents to chat completions, whole and in chunks.

Contract: ollama-contract.md, "OpenAI: chat completions".

What does not change in a stream is encoded once; per delta only the text is. Tool calls go out piece by
piece, as OpenAI's do; upstream sends each whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drover.v1 import engine_pb2 as pb
from frontend.api import wire
from frontend.api.core.go_json import dump_text, dumps, dumps_text
from frontend.api.logprobs import logprob_entries
from frontend.api.openai.format import DONE, NOTHING_USED, FinishedChoices, OpenAIFormat, finish_reason, head
from frontend.api.tool_calls import ToolCalls, WholeCall, new_call_id
from frontend.api.wire import ExtraFields, encode_extra_fields, json_array

_SILENCE = b'"content":""'


class ChatEncoder(OpenAIFormat):
    """Implements frontend.api.multi_choice.MultiChoiceEncoder. `include_usage`: a stream's last chunk before
    `[DONE]` has the usage; `extra_fields`: added to the last object.
    """

    def __init__(
        self, model: str, choices: int, include_usage: bool, extra_fields: ExtraFields = dict
    ) -> None:
        self._model = model
        self._head = head("chatcmpl", b"chat.completion.chunk", model) + b'"choices":['
        self._choices = [_Choice(index) for index in range(choices)]
        self._ends = FinishedChoices(choices, choices)
        self._include_usage = include_usage
        self._extra_fields = extra_fields

    def lines(self, event: pb.GenerateEvent, choice: int = 0) -> bytes:
        """The frames of an event; empty when it shows nothing."""
        chunks = [b"%b%b]}" % (self._head, part) for part in self._choices[choice].parts(event)]
        if event.HasField("done") and self._ends.saw(choice, event.done):
            if self._include_usage:
                chunks.append(self._head + b'],"usage":%b}' % self._ends.usage())
            chunks[-1] = chunks[-1][:-1] + encode_extra_fields(self._extra_fields) + b"}"
            chunks.append(DONE)
        return b"".join(map(wire.frame, chunks))

    def token(self, text: str, token_id: int, choice: int = 0) -> bytes:
        """The frame of one token, whose text is not empty."""
        return b"data: %b%b]}\n\n" % (self._head, self._choices[choice].token(text))

    def body(self, *choices: Sequence[pb.GenerateEvent]) -> bytes:
        """The only object of an answer that is not streamed."""
        encoded = []
        for index, events in enumerate(choices):
            self._ends.saw(index, events[-1].done)
            encoded.append(_whole(index, events))
        return self._object(b",".join(encoded), self._ends.usage(), encode_extra_fields(self._extra_fields))

    def rendered(self, prompt: str) -> bytes:
        """The answer to `_debug_render_only`."""
        nothing = b'{"index":0,"message":{"role":"","content":""},"finish_reason":null}'
        about = b',"_debug_info":{"rendered_template":%b}' % dumps_text(prompt)
        return self._object(nothing, NOTHING_USED, about)

    def _object(self, choices: bytes, used: bytes, also: bytes) -> bytes:
        return b'%b"choices":[%b],"usage":%b%b}\n' % (
            head("chatcmpl", b"chat.completion", self._model),
            choices,
            used,
            also,
        )


class _Choice:
    """One choice of a stream. `role` is said once, in its first chunk."""

    def __init__(self, index: int) -> None:
        self._open = b'{"index":%d,"delta":{' % index
        self._role = b'"role":"assistant",'
        # Of each call that was begun: whether nothing of its arguments was sent yet.
        self._silent: dict[int, bool] = {}

    def parts(self, event: pb.GenerateEvent) -> Iterator[bytes]:
        for delta in event.deltas:
            if said := self._said(delta):
                yield self._part(said, delta.logprobs)
        if event.HasField("done"):
            if self._role:
                yield self._part(_SILENCE, ())
            reason = finish_reason(event.done, called=bool(self._silent))
            yield b'%b},"finish_reason":"%b"}' % (self._open, reason)

    def token(self, text: str) -> bytes:
        return self._part(b'"content":' + dumps_text(text), ())

    def _said(self, delta: pb.Delta) -> bytes:
        """Members of a chunk's delta; empty where it says nothing."""
        if delta.content:
            return b'"content":' + dumps_text(delta.content)
        if delta.thinking:
            return b'%b,"reasoning":%b' % (_SILENCE, dumps_text(delta.thinking))
        if calls := json_array([piece for call in delta.tool_calls if (piece := self._call(call))]):
            return b'%b,"tool_calls":%b' % (_SILENCE, calls)
        return _SILENCE if delta.logprobs else b""

    def _part(self, said: bytes, logprobs: Sequence[pb.TokenLogprob]) -> bytes:
        part = b'%b%b%b},"finish_reason":null%b}' % (
            self._open,
            self._role,
            said,
            _logprobs(logprobs) if logprobs else b"",
        )
        self._role = b""
        return part

    def _call(self, piece: pb.ToolCallDelta) -> bytes:
        """Empty where there is no news. Arguments are never empty, or clients could not read them."""
        is_silent = self._silent.get(piece.index, True)
        fragment = piece.arguments_fragment or ("{}" if piece.complete and is_silent else "")
        is_new = piece.index not in self._silent
        self._silent[piece.index] = is_silent and not fragment
        arguments = dumps_text(fragment)
        if not is_new:
            return b'{"index":%d,"function":{"arguments":%b}}' % (piece.index, arguments) if fragment else b""
        return b'{"id":%b,"index":%d,"type":"function","function":{"name":%b,"arguments":%b}}' % (
            dumps_text(piece.id or new_call_id()),
            piece.index,
            dumps_text(piece.name),
            arguments,
        )


def _whole(index: int, events: Sequence[pb.GenerateEvent]) -> bytes:
    content, thinking = [], []
    logprobs: list[pb.TokenLogprob] = []
    gathered, calls = ToolCalls(), []
    for event in events:
        for delta in event.deltas:
            content.append(delta.content)
            thinking.append(delta.thinking)
            logprobs.extend(delta.logprobs)
            calls += gathered.feed(delta)
    message: dict[str, object] = {"role": "assistant", "content": "".join(content)}
    if thought := "".join(thinking):
        message["reasoning"] = thought
    if calls:
        message["tool_calls"] = [_tool_call(call) for call in calls]
    return b'{"index":%d,"message":%b,"finish_reason":"%b"%b}' % (
        index,
        dumps(message),
        finish_reason(events[-1].done, called=bool(calls)),
        _logprobs(logprobs) if logprobs else b"",
    )


def _tool_call(call: WholeCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": dump_text(call.arguments)}
    return {"id": call.id, "index": call.index, "type": "function", "function": function}


def _logprobs(logprobs: Sequence[pb.TokenLogprob]) -> bytes:
    """OpenAI's have `top_logprobs` always."""
    empty: dict[str, object] = {"top_logprobs": []}
    entries = [entry if "top_logprobs" in entry else entry | empty for entry in logprob_entries(logprobs)]
    return b',"logprobs":' + dumps({"content": entries})
