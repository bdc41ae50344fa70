"""From GenerateEvents to completions of prompts, whole and in chunks.

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
    NOTHING_USED,
    FinishedChoices,
    OpenAIFormat,
    beginning,
    finish_reason,
    head,
)
from frontend.api.wire import ExtraFields, encode_extra_fields


class CompletionEncoder(OpenAIFormat):
    """Implements frontend.api.multi_choice.MultiChoiceEncoder. Choices count through all prompts, with
    `per_prompt` for each; `extra_fields`: added to the last object.
    """

    def __init__(
        self, model: str, choices: int, per_prompt: int, include_usage: bool, extra_fields: ExtraFields = dict
    ) -> None:
        self._model = model
        self._head = beginning("cmpl", b"text_completion") + b'"choices":['
        self._tail = b'],"model":%b,%b' % (dumps_text(model), FINGERPRINT.removesuffix(b","))
        # Upstream's other chunks have a usage of zeros where the last one tells it.
        self._unused = b',"usage":%b' % NOTHING_USED if include_usage else b""
        self._choices = [_Choice(index) for index in range(choices)]
        self._ends = FinishedChoices(choices, per_prompt)
        self._include_usage = include_usage
        self._extra_fields = extra_fields

    def lines(self, event: pb.GenerateEvent, choice: int = 0) -> bytes:
        """The frames of an event; empty when it shows nothing."""
        chunks = [self._chunk(part, self._unused) for part in self._choices[choice].parts(event)]
        if event.HasField("done") and self._ends.saw(choice, event.done):
            if self._include_usage:
                chunks.append(self._chunk(b"", b',"usage":%b' % self._ends.usage()))
            chunks[-1] = chunks[-1][:-1] + encode_extra_fields(self._extra_fields) + b"}"
            chunks.append(DONE)
        return b"".join(map(wire.frame, chunks))

    def token(self, text: str, token_id: int, choice: int = 0) -> bytes:
        """The frame of one token, whose text is not empty."""
        return self.lines(pb.GenerateEvent(deltas=[pb.Delta(content=text)]), choice)

    def body(self, *choices: Sequence[pb.GenerateEvent]) -> bytes:
        """The only object of an answer that is not streamed."""
        encoded = []
        for index, events in enumerate(choices):
            self._ends.saw(index, events[-1].done)
            encoded.append(self._choices[index].whole(events))
        return self._object(encoded, self._ends.usage() + encode_extra_fields(self._extra_fields))

    def loaded(self, reason: str) -> bytes:
        """The answer to an empty prompt, which loads the model, or unloads it."""
        choice = b'{"text":"","index":0,"finish_reason":"%b"}' % reason.encode()
        return self._object([choice], NOTHING_USED)

    def rendered(self) -> bytes:
        """The answer to `_debug_render_only`, which has no place for the prompt upstream."""
        return self._object([b'{"text":"","index":0,"finish_reason":null}'], NOTHING_USED)

    def loaded_lines(self, reason: str) -> bytes:
        choice = b'{"text":"","index":0,"finish_reason":"%b"}' % reason.encode()
        return b"".join(map(wire.frame, (self._chunk(choice, self._unused), DONE)))

    def _chunk(self, choices: bytes, used: bytes) -> bytes:
        return b"%b%b%b%b}" % (self._head, choices, self._tail, used)

    def _object(self, choices: Sequence[bytes], used: bytes) -> bytes:
        return b'%b"choices":[%b],"usage":%b}\n' % (
            head("cmpl", b"text_completion", self._model),
            b",".join(choices),
            used,
        )


class _Choice:
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
        """In the older shape, which upstream leaves out. Offsets are in characters of the answer."""
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
