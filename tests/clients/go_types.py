"""Answers decoded as strictly as Go's encoding/json decodes them into the CLI's structs.

Go stops with an error at a number with a fraction or an exponent where an integer is wanted, at a time that
is not RFC 3339 with a zone, and at any value of another kind. `null` leaves a field as it is, unknown ones
are skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

Kind = Callable[[object, str], object]

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_INT64 = range(-(2**63), 2**63)


class GoDecodeError(ValueError):
    """A value that Go's decoder refuses; the message names the field."""


class _Fraction(float):
    """A number that was written with a fraction or an exponent."""


def decode(kind: Kind, text: bytes) -> dict[str, Any]:
    """The answer, with times as datetime."""
    try:
        value = json.loads(text, parse_float=_Fraction, parse_constant=_refuse_constant)
    except ValueError as error:
        raise GoDecodeError(f"not JSON: {error}: {text!r}") from error
    decoded = kind(value, "answer")
    if not isinstance(decoded, dict):
        raise GoDecodeError(f"not an object: {text!r}")
    return decoded


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _of(python: type, name: str) -> Kind:
    def read(value: object, where: str) -> object:
        if value is not None and (
            not isinstance(value, python) or isinstance(value, bool) is not (python is bool)
        ):
            raise GoDecodeError(f"{where}: {value!r} is not a {name}")
        return value

    return read


string = _of(str, "string")
boolean = _of(bool, "bool")


def integer(value: object, where: str) -> object:
    if value is None:
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INT64:
        raise GoDecodeError(f"{where}: {value!r} is not an int64")
    return value


def number(value: object, where: str) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise GoDecodeError(f"{where}: {value!r} is not a number")
    return value


def anything(value: object, where: str) -> object:
    return value


def instant(value: object, where: str) -> object:
    """A time.Time."""
    if value is None:
        return value
    matched = _TIME.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        raise GoDecodeError(f"{where}: {value!r} is not an RFC 3339 time with a zone")
    try:
        return datetime.fromisoformat(matched[1] + matched[2].replace("Z", "+00:00"))
    except ValueError as error:
        raise GoDecodeError(f"{where}: {value!r}: {error}") from error


def list_of(kind: Kind) -> Kind:
    def read(value: object, where: str) -> object:
        if value is None:
            return value
        if not isinstance(value, list):
            raise GoDecodeError(f"{where}: {value!r} is not an array")
        return [kind(each, f"{where}[{at}]") for at, each in enumerate(value)]

    return read


def map_of(kind: Kind) -> Kind:
    def read(value: object, where: str) -> object:
        if value is None:
            return value
        if not isinstance(value, dict):
            raise GoDecodeError(f"{where}: {value!r} is not an object")
        return {key: kind(each, f"{where}.{key}") for key, each in value.items()}

    return read


def struct(fields: Mapping[str, Kind]) -> Kind:
    def read(value: object, where: str) -> object:
        if value is None:
            return value
        if not isinstance(value, dict):
            raise GoDecodeError(f"{where}: {value!r} is not an object")
        return {key: fields.get(key, anything)(each, f"{where}.{key}") for key, each in value.items()}

    return read


METRICS = {
    "total_duration": integer,
    "load_duration": integer,
    "prompt_eval_count": integer,
    "prompt_eval_cached_count": integer,
    "prompt_eval_duration": integer,
    "eval_count": integer,
    "eval_duration": integer,
}
_DETAILS = struct(
    {
        "parent_model": string,
        "format": string,
        "family": string,
        "families": list_of(string),
        "parameter_size": string,
        "quantization_level": string,
        "context_length": integer,
        "embedding_length": integer,
    }
)
_CALL = struct(
    {"id": string, "function": struct({"index": integer, "name": string, "arguments": map_of(anything)})}
)
_MESSAGE = struct(
    {
        "role": string,
        "content": string,
        "thinking": string,
        "images": list_of(string),
        "tool_calls": list_of(_CALL),
        "tool_name": string,
        "tool_call_id": string,
    }
)
_ANSWER = {"model": string, "created_at": instant, "done": boolean, "done_reason": string, **METRICS}

VERSION = struct({"version": string})
STATUS = struct({"cloud": struct({"disabled": boolean, "source": string})})
RECOMMENDATIONS = struct({"recommendations": list_of(struct({"model": string, "description": string}))})
CHAT = struct({**_ANSWER, "message": _MESSAGE})
GENERATE = struct(
    {
        **_ANSWER,
        "response": string,
        "thinking": string,
        "context": list_of(integer),
        "tool_calls": list_of(_CALL),
    }
)
EMBED = struct(
    {
        "model": string,
        "embeddings": list_of(list_of(number)),
        "total_duration": integer,
        "load_duration": integer,
        "prompt_eval_count": integer,
    }
)
PROGRESS = struct({"status": string, "digest": string, "total": integer, "completed": integer})
LIST = struct(
    {
        "models": list_of(
            struct(
                {
                    "name": string,
                    "model": string,
                    "remote_model": string,
                    "remote_host": string,
                    "modified_at": instant,
                    "size": integer,
                    "digest": string,
                    "details": _DETAILS,
                    "capabilities": list_of(string),
                }
            )
        )
    }
)
PROCESSES = struct(
    {
        "models": list_of(
            struct(
                {
                    "name": string,
                    "model": string,
                    "size": integer,
                    "digest": string,
                    "details": _DETAILS,
                    "expires_at": instant,
                    "size_vram": integer,
                    "context_length": integer,
                }
            )
        )
    }
)
SHOW = struct(
    {
        "license": string,
        "modelfile": string,
        "parameters": string,
        "template": string,
        "system": string,
        "renderer": string,
        "parser": string,
        "details": _DETAILS,
        "messages": list_of(_MESSAGE),
        "remote_model": string,
        "remote_host": string,
        "model_info": map_of(anything),
        "projector_info": map_of(anything),
        "tensors": list_of(struct({"name": string, "type": string, "shape": list_of(integer)})),
        "capabilities": list_of(string),
        "modified_at": instant,
        "requires": string,
    }
)
