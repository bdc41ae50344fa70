"""Two answers are the same when they differ only in what must differ. The rules of that are here.

Times and durations are of their kind and not zero; digests and sizes are of other files; a Modelfile's FROM
names a place; log probabilities come from other arithmetic. Texts, counts, token ids, keys and their order
are compared as they are. Of a stream, neighbouring lines that say the same kind of thing count as one, since
how many tokens share a line is a matter of timing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_FROM = re.compile(r"^FROM .*$", re.MULTILINE)
_TENSORS = re.compile(r'"tensors":\[.*\],"capabilities"', re.DOTALL)
# Text that a line adds to the one before it.
_ADDED = ("content", "response", "thinking", "reasoning", "text", "arguments")
# What upstream does not tell.
_MORE = ("prompt_tokens_details", "completion_tokens_details")


def _time(value: JsonValue) -> JsonValue:
    return "a time" if isinstance(value, str) and _TIME.fullmatch(value) else value


def _nanoseconds(value: JsonValue) -> JsonValue:
    return "nanoseconds" if type(value) is int and value > 0 else value


def _count(value: JsonValue) -> JsonValue:
    return "a count" if type(value) is int and value >= 0 else value


def _digest(value: JsonValue) -> JsonValue:
    return "a digest" if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) else value


def _status(value: JsonValue) -> JsonValue:
    """Layers have digests of their content, which a unit test compares with the recorded ones."""
    return re.sub(r"sha256:[0-9a-f]{64}", "sha256:…", value) if isinstance(value, str) else value


def _logprob(value: JsonValue) -> JsonValue:
    return "a logprob" if isinstance(value, float) and value <= 0 else value


def _id(value: JsonValue) -> JsonValue:
    """Random ids, of which Ollama has two kinds for calls; a model's id is its name."""
    if not isinstance(value, str):
        return value
    return re.sub(r"^(chatcmpl-|cmpl-|call_|req_)[0-9a-z]+$", r"\1…", re.sub(r"^\w{32}$", "call_0", value))


def _arguments(value: JsonValue) -> JsonValue:
    """JSON text, whose spaces are irrelevant and whose keys Ollama writes in random order."""
    return json.dumps(_parsed(value), sort_keys=True) if isinstance(value, str) else value


def _source(value: JsonValue) -> JsonValue:
    known = ("a source", "go_template", "gguf_chat_template", "renderer", "none")
    return "a source" if value in known else value


def _timings(value: JsonValue) -> JsonValue:
    """Each number, whichever it is."""
    if not isinstance(value, dict):
        return value
    return {name: "a number" if isinstance(item, int | float) else item for name, item in value.items()}


def _modelfile(value: JsonValue) -> JsonValue:
    """Ollama writes PARAMETER lines in random order."""
    if not isinstance(value, str):
        return value
    return [*sorted(_FROM.sub("FROM …", value).splitlines())]


def _parameters(value: JsonValue) -> JsonValue:
    return [*sorted(value.splitlines())] if isinstance(value, str) else value


_MASKS: Mapping[str, Callable[[JsonValue], JsonValue]] = {
    "created_at": _time,
    "modified_at": _time,
    "expires_at": _time,
    "total_duration": _nanoseconds,
    "load_duration": _nanoseconds,
    "prompt_eval_cached_count": _count,
    "prompt_eval_duration": _nanoseconds,
    "eval_duration": _nanoseconds,
    "size": _count,
    "digest": _digest,
    "status": _status,
    "logprob": _logprob,
    "created": _count,
    "id": _id,
    "arguments": _arguments,
    "modelfile": _modelfile,
    "parameters": _parameters,
    "request_id": _id,
    "template_source": _source,
    "timings": _timings,
}


def comparable(body: str, content_type: str) -> object:
    """A body without what may differ: equal for answers that are equivalent to clients."""
    if "x-ndjson" in content_type:
        return [_masked(line) for line in _joined([_parsed(line) for line in body.splitlines()])]
    if "event-stream" in content_type:
        return [_masked(frame) for frame in _joined(_frames(body))]
    if "json" in content_type and body:
        return _masked(_parsed(_TENSORS.sub('"tensors":[],"capabilities"', body)))
    return body


def _parsed(text: str) -> JsonValue:
    value: JsonValue = json.loads(text)
    return value


def _masked(value: JsonValue, key: str = "") -> object:
    if key in _MASKS:
        value = _MASKS[key](value)
    match value:
        case dict():
            # Pairs, since the order of keys counts.
            return [(name, _masked(item, name)) for name, item in value.items() if name not in _MORE]
        case list():
            return [_masked(item) for item in value]
        case _:
            return value


def _frames(body: str) -> list[JsonValue]:
    """Of server-sent events. The first one's role is a frame of its own here: whether text shares it with the
    next tokens' is a matter of timing too.
    """
    assert body.endswith("\n\n")
    frames: list[JsonValue] = []
    for frame in body.removesuffix("\n\n").split("\n\n"):
        assert frame.startswith("data: ")
        assert "\n" not in frame
        data = frame.removeprefix("data: ")
        value = data if data == "[DONE]" else _parsed(data)
        match value:
            case {"choices": [{"delta": {"role": role} as delta}]} if isinstance(delta, dict):
                frames.append({"role": role})
                del delta["role"]
        frames.append(value)
    return frames


def _joined(lines: list[JsonValue]) -> list[JsonValue]:
    joined: list[JsonValue] = []
    for line in lines:
        if joined and _is_more_of(line, joined[-1]):
            joined[-1] = _sum(joined[-1], line)
        else:
            joined.append(line)
    return joined


def _is_more_of(line: JsonValue, before: JsonValue) -> bool:
    return (
        isinstance(line, dict)
        and isinstance(before, dict)
        and _continues(line)
        and _continues(before)
        and _keys(line) == _keys(before)
    )


def _continues(line: dict[str, JsonValue]) -> bool:
    match line:
        case {"done": False} | {"choices": [{"finish_reason": None}]}:
            return True
        case _:
            return False


def _keys(value: JsonValue, key: str = "") -> object:
    """Chunks of thoughts and chunks of text are different kinds, which only their choices show."""
    if isinstance(value, list) and key == "choices":
        return [_keys(item) for item in value]
    return [(name, _keys(item, name)) for name, item in value.items()] if isinstance(value, dict) else None


def _sum(one: JsonValue, other: JsonValue, key: str = "") -> JsonValue:
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: _sum(item, other[name], name) for name, item in one.items()}
    if key in _ADDED and isinstance(one, str) and isinstance(other, str):
        return one + other
    if isinstance(one, list) and isinstance(other, list):
        if key == "choices" and len(one) == len(other):
            return [_sum(each, more) for each, more in zip(one, other, strict=True)]
        return [*one, *other]
    return other
