"""What values of `think` a model takes: Ollama's show.thinking (ollama-contract.md, "Thinking"). And the
template arguments that mean the same as `think`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from drover.json_value import Json
from drover.v1 import engine_pb2 as pb

# The levels of gpt-oss, which cannot be switched off.
GPT_OSS_LEVELS = ("low", "medium", "high")
_GPT_OSS_DEFAULT = "medium"
# Names of template arguments that every engine honours as its own switch of thinking.
_SWITCHES = frozenset({"enable_thinking", "thinking"})


def always_on() -> pb.Thinking:
    return _thinking([True], True)


def on_or_off() -> pb.Thinking:
    return _thinking([False, True], True)


def gpt_oss_levels() -> pb.Thinking:
    return _thinking(GPT_OSS_LEVELS, _GPT_OSS_DEFAULT)


def to_json(thinking: pb.Thinking) -> dict[str, Json]:
    return {"values": [_json(value) for value in thinking.values], "default": _json(thinking.default)}


def from_json(value: Json) -> pb.Thinking | None:
    """None where it is not what Ollama would say: distinct values, no empty name, one of them the default."""
    if not isinstance(value, dict):
        return None
    values, default = value.get("values"), value.get("default")
    if not isinstance(values, list) or not all(_is_value(each) for each in (*values, default)):
        return None
    read = [each for each in values if isinstance(each, bool | str)]
    if len(set(read)) != len(read) or default not in read or not isinstance(default, bool | str):
        return None
    return _thinking(read, default)


def needs_template(request: pb.GenerateRequest) -> bool:
    """Whether the request has template arguments whose effect only its model's own template can have."""
    text = request.template_arguments_json
    if not text:
        return False
    if request.think.mode == pb.Think.UNSET:
        return True
    arguments = json.loads(text)
    return not (isinstance(arguments, dict) and arguments.keys() <= _SWITCHES)


def _is_value(value: Json) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value != "")


def _thinking(values: Sequence[bool | str], default: bool | str) -> pb.Thinking:
    return pb.Thinking(values=[_value(each) for each in values], default=_value(default))


def _value(value: bool | str) -> pb.Thinking.Value:
    return pb.Thinking.Value(on=value) if isinstance(value, bool) else pb.Thinking.Value(name=value)


def _json(value: pb.Thinking.Value) -> Json:
    return value.name if value.WhichOneof("kind") == "name" else value.on
