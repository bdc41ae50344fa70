"""GenerateEvents to the bytes of completions, streamed and not.

Contract: ollama-contract.md, "OpenAI: completions".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drover.v1 import engine_pb2 as pb
from frontend.api import wire
from frontend.api.core.go_json import dumps, dumps_text
from frontend.api.logprobs import finite_logprob
from frontend.api.openai.format import (
    DONE,
    FINGERPRINT,
    ZERO_USAGE,
    FinishedChoices,
    OpenAIFormat,
    finish_reason,
    head,
    head_without_model,
)
from frontend.api.wire import ExtraFields, encode_extra_fields

_KIND = "cmpl"


class CompletionEncoder(OpenAIFormat):
    """Encoder of one response. Implements frontend.api.multi_choice.MultiChoiceEncoder.

    Choices are numbered through all prompts, with `per_prompt` for each. `extra_fields`: fields outside
    OpenAI's API, added to the last object. `response_id`: the client's own id of the answer.
    """

    def __init__(
        self,
        model: str,
        choices: int,
        per_prompt: int,
        include_usage: bool,
        extra_fields: ExtraFields = dict,
        response_id: str = "",
    ) -> None:
        self._model = model
        self._response_id = response_id
        self._head = head_without_model(_KIND, b"text_completion", response_id) + b'"choices":['
        self._tail = b'],"model":%b,%b' % (dumps_text(model), FINGERPRINT.removesuffix(b","))
        # In Ollama every chunk before the last has a usage of zeros, if the last one has the usage.
        self._zero_usage = b',"usage":%b' % ZERO_USAGE if include_usage else b""
        self._choices = [_Choice(index) for index in range(choices)]
        self._finished = FinishedChoices(choices, per_prompt)
        self._include_usage = include_usage
        self._extra_fields = extra_fields

    def lines(self, event: pb.GenerateEvent, choice: int = 0) -> bytes:
        """The server-sent events of an engine's event; empty if it has no output."""
        chunks = [self._chunk(part, self._zero_usage) for part in self._choices[choice].parts(event)]
        if event.HasField("done") and self._finished.add(choice, event.done):
            if self._include_usage:
                finished = self._finished
                last = b',"usage":%b,"timings":%b' % (finished.usage(), finished.timings())
                chunks.append(self._chunk(b"", last))
            chunks[-1] = chunks[-1][:-1] + encode_extra_fields(self._extra_fields) + b"}"
            chunks.append(DONE)
        return b"".join(map(wire.frame, chunks))

    def token(self, text: str, token_id: int, choice: int = 0) -> bytes:
        """The server-sent event of one token, whose text is not empty."""
        return self.lines(pb.GenerateEvent(deltas=[pb.Delta(content=text)]), choice)

    def body(self, *choices: Sequence[pb.GenerateEvent]) -> bytes:
        """The object of a response that is not streamed."""
        encoded = []
        for index, events in enumerate(choices):
            self._finished.add(index, events[-1].done)
            encoded.append(self._choices[index].whole(events))
        return self._object(encoded, self._finished.usage() + encode_extra_fields(self._extra_fields))

    def loaded(self, reason: str) -> bytes:
        """The response to an empty prompt, which loads or unloads the model."""
        choice = b'{"text":"","index":0,"finish_reason":"%b"}' % reason.encode()
        return self._object([choice], ZERO_USAGE)

    def rendered(self) -> bytes:
        """The response to `_debug_render_only`, which in Ollama does not include the prompt."""
        return self._object([b'{"text":"","index":0,"finish_reason":null}'], ZERO_USAGE)

    def loaded_lines(self, reason: str) -> bytes:
        """The same, streamed."""
        choice = b'{"text":"","index":0,"finish_reason":"%b"}' % reason.encode()
        return b"".join(map(wire.frame, (self._chunk(choice, self._zero_usage), DONE)))

    def _chunk(self, choices: bytes, usage: bytes) -> bytes:
        return b"%b%b%b%b}" % (self._head, choices, self._tail, usage)

    def _object(self, choices: Sequence[bytes], usage: bytes) -> bytes:
        return b'%b"choices":[%b],"usage":%b}\n' % (
            head(_KIND, b"text_completion", self._model, self._response_id),
            b",".join(choices),
            usage,
        )


class _Choice:
    """One choice. Text offsets of log probabilities continue from event to event."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._characters = 0

    def parts(self, event: pb.GenerateEvent) -> Iterator[bytes]:
        for delta in event.deltas:
            if delta.content or delta.logprobs:
                yield self._part(dumps_text(delta.content), b"null", delta.logprobs)
        if event.HasField("done"):
            yield self._part(b'""', b'"%b"' % finish_reason(event.done), ())

    def whole(self, events: Sequence[pb.GenerateEvent]) -> bytes:
        deltas = [delta for event in events for delta in event.deltas]
        text = "".join(delta.content for delta in deltas)
        logprobs = [logprob for delta in deltas for logprob in delta.logprobs]
        return self._part(dumps_text(text), b'"%b"' % finish_reason(events[-1].done), logprobs)

    def _part(self, text: bytes, reason: bytes, logprobs: Sequence[pb.TokenLogprob]) -> bytes:
        return b'{"text":%b,"index":%d,"finish_reason":%b%b}' % (
            text,
            self._index,
            reason,
            b',"logprobs":' + dumps(self._logprobs(logprobs)) if logprobs else b"",
        )

    def _logprobs(self, logprobs: Sequence[pb.TokenLogprob]) -> dict[str, object]:
        """The log probabilities in OpenAI's shape, which Ollama lacks. Offsets are in characters."""
        tokens = [logprob.token.decode(errors="replace") for logprob in logprobs]
        offsets = []
        for token in tokens:
            offsets.append(self._characters)
            self._characters += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [finite_logprob(logprob.logprob) for logprob in logprobs],
            "top_logprobs": [
                {other.token.decode(errors="replace"): finite_logprob(other.logprob) for other in logprob.top}
                for logprob in logprobs
            ],
            "text_offset": offsets,
        }
