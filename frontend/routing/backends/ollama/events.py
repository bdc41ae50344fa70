"""Converts the lines of an Ollama stream to GenerateEvents.

Source: docs/reference/ollama-contract.md, "Fields of an answer" and "Streams". Values of the wrong type are
ignored, as other servers speak the protocol too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from drover.errors import EngineFailed
from drover.json_value import Json
from drover.ollama_options import INT64_MAX, UINT32_MAX
from drover.v1 import engine_pb2 as pb

Line = Mapping[str, Json]


def read_line(data: bytes) -> Line:
    """Parse a line. Raises EngineFailed if it is no JSON object, and for the protocol's error line."""
    try:
        line = orjson.loads(data)
    except orjson.JSONDecodeError:
        line = None
    if not isinstance(line, dict):
        raise EngineFailed("the Ollama host sent a line that is not a JSON object")
    if "error" in line:
        raise EngineFailed(f"the Ollama host ended the response: {line['error']}")
    return line


class Events:
    """Events of one response. Ollama sends about a line per token: lines are counted until `done` has the
    count.
    """

    def __init__(self, not_honoured: Sequence[str] = ()) -> None:
        self._started: pb.Started | None = pb.Started(not_honoured=not_honoured)
        self._lines = 0
        self._calls = 0

    def event(self, line: Line) -> pb.GenerateEvent:
        event = pb.GenerateEvent()
        if self._started is not None:
            event.started.CopyFrom(self._started)
            self._started = None
        event.deltas.extend(self._deltas(line))
        if line.get("done") is True:
            if context := _integers(line.get("context")):
                # Ollama sends the token ids of prompt and output only at the end.
                event.deltas.append(pb.Delta(token_ids=context, completion_tokens=self._lines))
            event.done.CopyFrom(_done(line, self._lines))
        return event

    def _deltas(self, line: Line) -> Sequence[pb.Delta]:
        message = line.get("message")
        fields = message if isinstance(message, dict) else {**line, "content": line.get("response")}
        content, thinking = _text(fields.get("content")), _text(fields.get("thinking"))
        calls = [self._call(call) for call in _objects(fields.get("tool_calls"))]
        logprobs = [_logprob(each) for each in _objects(line.get("logprobs"))]
        deltas = [
            *([pb.Delta(thinking=thinking)] if thinking else []),
            *([pb.Delta(content=content)] if content else []),
            *([pb.Delta(tool_calls=calls)] if calls else []),
        ]
        if logprobs:
            deltas = deltas or [pb.Delta()]
            deltas[0].logprobs.extend(logprobs)
        self._lines += max(len(logprobs), bool(deltas))
        for delta in deltas:
            delta.completion_tokens = self._lines
        return deltas

    def _call(self, call: Line) -> pb.ToolCallDelta:
        function = call.get("function")
        named = function if isinstance(function, dict) else {}
        arguments = named.get("arguments")
        self._calls += 1
        return pb.ToolCallDelta(
            index=self._calls - 1,
            id=_text(call.get("id")),
            name=_text(named.get("name")),
            arguments_fragment=orjson.dumps(arguments if isinstance(arguments, dict) else {}).decode(),
            complete=True,
        )


def _done(line: Line, tokens: int) -> pb.Done:
    """`cached_tokens` is 0 for an older server, which does not report them."""
    is_length = line.get("done_reason") == "length"
    prompt_tokens = min(_count(line.get("prompt_eval_count")), UINT32_MAX)
    return pb.Done(
        finish_reason=pb.Done.LENGTH if is_length else pb.Done.STOP,
        prompt_tokens=prompt_tokens,
        cached_tokens=min(_count(line.get("prompt_eval_cached_count")), prompt_tokens),
        completion_tokens=min(_count(line.get("eval_count")) or tokens, UINT32_MAX),
        timings=pb.Timings(
            load_ns=_count(line.get("load_duration")),
            prefill_ns=_count(line.get("prompt_eval_duration")),
            decode_ns=_count(line.get("eval_duration")),
        ),
    )


def _logprob(entry: Line) -> pb.TokenLogprob:
    top = [
        pb.TokenLogprob.Alternative(token=_token(other), logprob=_number(other.get("logprob")))
        for other in _objects(entry.get("top_logprobs"))
    ]
    return pb.TokenLogprob(token=_token(entry), logprob=_number(entry.get("logprob")), top=top)


def _token(entry: Line) -> bytes:
    """The token's bytes, which may be an incomplete character."""
    octets = entry.get("bytes")
    if isinstance(octets, list) and all(isinstance(each, int) and 0 <= each < 256 for each in octets):
        return bytes(each for each in octets if isinstance(each, int))
    return _text(entry.get("token")).encode(errors="replace")


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Json) -> float:
    return value if isinstance(value, int | float) else 0.0


def _count(value: Json) -> int:
    return min(max(0, value), INT64_MAX) if isinstance(value, int) else 0


def _objects(value: Json) -> Sequence[Line]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _integers(value: Json) -> list[int]:
    if not isinstance(value, list):
        return []
    return [each for each in value if isinstance(each, int) and 0 <= each <= UINT32_MAX]
