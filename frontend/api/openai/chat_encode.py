"""GenerateEvents to the bytes of chat completions, streamed and not.

Contract: ollama-contract.md, "OpenAI: chat completions".

The constant part of a chunk is encoded once; per delta only the text is encoded. Tool calls are streamed in
parts, as OpenAI does; Ollama sends each call whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drover.v1 import engine_pb2 as pb
from frontend.api import wire
from frontend.api.core.go_json import dump_text, dumps, dumps_text
from frontend.api.logprobs import logprob_entries
from frontend.api.openai.extras.reasoning import ReasoningStyle, ReasoningView
from frontend.api.openai.format import DONE, ZERO_USAGE, FinishedChoices, OpenAIFormat, finish_reason, head
from frontend.api.tool_calls import ToolCalls, WholeCall, new_call_id
from frontend.api.wire import ExtraFields, encode_extra_fields, json_array

_KIND = "chatcmpl"
# Ollama's name, and that of SGLang and others.
_BOTH_NAMES = ("reasoning", "reasoning_content")
_NO_CONTENT = b'"content":""'


class ChatEncoder(OpenAIFormat):
    """Encoder of one response. Implements frontend.api.multi_choice.MultiChoiceEncoder.

    `include_usage`: a stream's last chunk before `[DONE]` has the usage. `extra_fields`: fields outside
    OpenAI's API, added to the last object. `response_id`: the client's own id of the answer; `reasoning`: how
    it wants the reasoning shown.
    """

    def __init__(
        self,
        model: str,
        choices: int,
        include_usage: bool,
        extra_fields: ExtraFields = dict,
        response_id: str = "",
        reasoning: ReasoningStyle | None = None,
    ) -> None:
        self._model = model
        self._response_id = response_id
        self._reasoning = reasoning
        self._head = head(_KIND, b"chat.completion.chunk", model, response_id) + b'"choices":['
        self._choices = [_Choice(index, reasoning) for index in range(choices)]
        self._finished = FinishedChoices(choices, choices)
        self._include_usage = include_usage
        self._extra_fields = extra_fields

    def lines(self, event: pb.GenerateEvent, choice: int = 0) -> bytes:
        """The server-sent events of an engine's event; empty if it has no output."""
        chunks = [b"%b%b]}" % (self._head, part) for part in self._choices[choice].parts(event)]
        if event.HasField("done") and self._finished.add(choice, event.done):
            if self._include_usage:
                finished = self._finished
                chunks.append(
                    self._head + b'],"usage":%b,"timings":%b}' % (finished.usage(), finished.timings())
                )
            chunks[-1] = chunks[-1][:-1] + encode_extra_fields(self._extra_fields) + b"}"
            chunks.append(DONE)
        return b"".join(map(wire.frame, chunks))

    def token(self, text: str, token_id: int, choice: int = 0) -> bytes:
        """The server-sent event of one token, whose text is not empty."""
        if self._reasoning is not None:
            return self.lines(pb.GenerateEvent(deltas=[pb.Delta(content=text)]), choice)
        return b"data: %b%b]}\n\n" % (self._head, self._choices[choice].token(text))

    def body(self, *choices: Sequence[pb.GenerateEvent]) -> bytes:
        """The object of a response that is not streamed."""
        encoded = []
        for index, events in enumerate(choices):
            self._finished.add(index, events[-1].done)
            encoded.append(_whole(index, events, self._reasoning))
        return self._object(
            b",".join(encoded), self._finished.usage(), encode_extra_fields(self._extra_fields)
        )

    def rendered(self, prompt: str) -> bytes:
        """The response to `_debug_render_only`."""
        choice = b'{"index":0,"message":{"role":"","content":""},"finish_reason":null}'
        debug_info = b',"_debug_info":{"rendered_template":%b}' % dumps_text(prompt)
        return self._object(choice, ZERO_USAGE, debug_info)

    def _object(self, choices: bytes, usage: bytes, more: bytes) -> bytes:
        return b'%b"choices":[%b],"usage":%b%b}\n' % (
            head(_KIND, b"chat.completion", self._model, self._response_id),
            choices,
            usage,
            more,
        )


class _Choice:
    """One choice of a stream. Its first chunk has the role."""

    def __init__(self, index: int, reasoning: ReasoningStyle | None) -> None:
        self._view = None if reasoning is None else ReasoningView(reasoning)
        self._reasoning_names = _reasoning_names(reasoning)
        self._open = b'{"index":%d,"delta":{' % index
        self._role = b'"role":"assistant",'
        # For each call that has begun, by its index: whether none of its arguments has been sent.
        self._without_arguments: dict[int, bool] = {}

    def parts(self, event: pb.GenerateEvent) -> Iterator[bytes]:
        for delta in event.deltas if self._view is None else self._view.deltas(event):
            if members := self._members(delta):
                yield self._part(members, delta.logprobs)
        if event.HasField("done"):
            if self._role:
                yield self._part(_NO_CONTENT, ())
            reason = finish_reason(event.done, called=bool(self._without_arguments))
            yield b'%b},"finish_reason":"%b"}' % (self._open, reason)

    def token(self, text: str) -> bytes:
        return self._part(b'"content":' + dumps_text(text), ())

    def _members(self, delta: pb.Delta) -> bytes:
        """The members of a chunk's delta; empty if there is no output."""
        if delta.content:
            return b'"content":' + dumps_text(delta.content)
        if delta.thinking:
            return b"%b,%b" % (_NO_CONTENT, _named(self._reasoning_names, dumps_text(delta.thinking)))
        if calls := json_array([part for call in delta.tool_calls if (part := self._call(call))]):
            return b'%b,"tool_calls":%b' % (_NO_CONTENT, calls)
        return _NO_CONTENT if delta.logprobs else b""

    def _part(self, members: bytes, logprobs: Sequence[pb.TokenLogprob]) -> bytes:
        part = b'%b%b%b},"finish_reason":null%b}' % (
            self._open,
            self._role,
            members,
            _logprobs(logprobs) if logprobs else b"",
        )
        self._role = b""
        return part

    def _call(self, call: pb.ToolCallDelta) -> bytes:
        """A part of a call; empty if nothing is new. Clients parse arguments: `{}` replaces empty ones."""
        lacks_arguments = self._without_arguments.get(call.index, True)
        fragment = call.arguments_fragment or ("{}" if call.complete and lacks_arguments else "")
        is_new = call.index not in self._without_arguments
        self._without_arguments[call.index] = lacks_arguments and not fragment
        arguments = dumps_text(fragment)
        if not is_new:
            return b'{"index":%d,"function":{"arguments":%b}}' % (call.index, arguments) if fragment else b""
        return b'{"id":%b,"index":%d,"type":"function","function":{"name":%b,"arguments":%b}}' % (
            dumps_text(call.id or new_call_id()),
            call.index,
            dumps_text(call.name),
            arguments,
        )


def _reasoning_names(style: ReasoningStyle | None) -> Sequence[str]:
    return _BOTH_NAMES if style is not None and style.has_both_names else _BOTH_NAMES[:1]


def _named(names: Sequence[str], text: bytes) -> bytes:
    return b",".join(b'"%b":%b' % (name.encode(), text) for name in names)


def _whole(index: int, events: Sequence[pb.GenerateEvent], style: ReasoningStyle | None) -> bytes:
    contents, thoughts = [], []
    logprobs: list[pb.TokenLogprob] = []
    collected, calls = ToolCalls(), []
    view = None if style is None else ReasoningView(style)
    for event in events:
        for delta in event.deltas if view is None else view.deltas(event):
            contents.append(delta.content)
            thoughts.append(delta.thinking)
            logprobs.extend(delta.logprobs)
            calls += collected.feed(delta)
    message: dict[str, object] = {"role": "assistant", "content": "".join(contents)}
    if thinking := "".join(thoughts):
        message |= dict.fromkeys(_reasoning_names(style), thinking)
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
    """The log probabilities; in OpenAI's API each has `top_logprobs`, also if empty."""
    empty: dict[str, object] = {"top_logprobs": []}
    entries = [entry if "top_logprobs" in entry else entry | empty for entry in logprob_entries(logprobs)]
    return b',"logprobs":' + dumps({"content": entries})
