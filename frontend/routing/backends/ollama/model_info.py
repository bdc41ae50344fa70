"""Converts the responses of `/api/show`, `/api/tags` and `/api/version` to the fleet's Model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

import orjson

from drover.errors import WorkerUnreachable
from drover.json_value import Json
from drover.names import ModelName
from drover.thinking import from_json
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.ollama.address import HostedModel
from frontend.routing.backends.ollama.events import Line

KIND = "ollama"
_HEX = re.compile(r"[0-9a-f]{64}")
_FLOATS = (
    "temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip
_INTEGERS = {"top_k": "top_k", "repeat_last_n": "repeat_last_n", "seed": "seed", "num_predict": "max_tokens"}
_UINT64 = 2**64 - 1
# For a host that does not report the context length.
_DEFAULT_CONTEXT = 4096
# What the protocol offers for every model that generates.
_PROTOCOL_CAPABILITIES = pb.Capabilities(json_constraint=True, logprobs=True, seed=True)


def entry_of(models: Json, wanted: ModelName) -> Line | None:
    """The model's entry in a response of `/api/tags` or `/api/ps`."""
    for entry in models if isinstance(models, list) else []:
        name = (
            ModelName.parse(_text(entry.get("model") or entry.get("name")))
            if isinstance(entry, dict)
            else None
        )
        if name is not None and name.key == wanted.key and isinstance(entry, dict):
            return entry
    return None


def model_of(hosted: HostedModel, show: Line, tag: Line | None, version: str) -> pb.Model:
    """Raises WorkerUnreachable if the host does not list the model."""
    if tag is None:
        raise WorkerUnreachable(f"the Ollama host does not list {hosted.model.short}")
    details, info = _object(show.get("details")), _object(show.get("model_info"))
    trained = _of_architecture(info, "context_length")
    model = pb.Model(
        names=[hosted.name.short],
        digest=_digest(hosted, tag),
        size_bytes=_count(tag.get("size")),
        context_length=trained or _DEFAULT_CONTEXT,
        trained_context_length=trained,
        embedding_length=_of_architecture(info, "embedding_length"),
        parameter_count=_count(info.get("general.parameter_count")),
        parameter_size=_text(details.get("parameter_size")),
        quantization=_text(details.get("quantization_level")),
        format=_text(details.get("format")),
        family=_text(details.get("family")),
        families=_texts(details.get("families")),
        template=_text(show.get("template")),
        system=_text(show.get("system")),
        licenses=[text] if (text := _text(show.get("license"))) else [],
        # A server that does not report capabilities generates text.
        capabilities=_capabilities(_texts(show.get("capabilities", ["completion"]))),
        defaults=defaults_of(_text(show.get("parameters"))),
        engine_kind=KIND,
        engine_version=version,
        modified_unix_ns=unix_ns(tag.get("modified_at")),
        model_info_json=orjson.dumps(info).decode(),
        template_source=_text(show.get("template_source")),
        renderer=_text(show.get("renderer")),
        parser=_text(show.get("parser")),
        remote_model=hosted.model.short,
        remote_host=hosted.url,
        requires=_text(show.get("requires")),
    )
    if (thinking := from_json(show.get("thinking"))) is not None:
        model.thinking.CopyFrom(thinking)
    return model


def _digest(hosted: HostedModel, tag: Line) -> str:
    """The host's digest, or one of the address if there is none, so that no other model has the same."""
    digest = _text(tag.get("digest")).removeprefix("sha256:").lower()
    return digest if _HEX.fullmatch(digest) else hashlib.sha256(repr(hosted).encode()).hexdigest()


def defaults_of(parameters: str) -> pb.Sampling:
    """Parse lines like `temperature    0.7`. Parameters without a field in Sampling are left to the host."""
    sampling = pb.Sampling()
    for line in parameters.splitlines():
        name, _, written = line.strip().partition(" ")
        value = _value(written.strip())
        if name == "stop" and isinstance(value, str):
            sampling.stop.append(value)
        elif name in _FLOATS and isinstance(value, int | float):
            setattr(sampling, name, value)
        elif name in _INTEGERS and isinstance(value, int) and (name != "num_predict" or value > 0):
            setattr(sampling, _INTEGERS[name], value)
    return sampling


def unix_ns(value: Json) -> int:
    """Parse a time in Go's format, to microseconds; 0 if it is invalid."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", _text(value))
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1e6) * 1000
    except (ValueError, OverflowError):
        return 0


def loaded_sizes(entry: Line) -> tuple[int, int]:
    """Bytes in total, and in VRAM."""
    return _count(entry.get("size")), _count(entry.get("size_vram"))


def _capabilities(named: Sequence[str]) -> pb.Capabilities:
    can = pb.Capabilities()
    if "completion" in named:
        can.CopyFrom(_PROTOCOL_CAPABILITIES)
    for name in ("completion", "tools", "insert", "vision", "embedding", "thinking", "audio", "decision"):
        setattr(can, name, name in named)
    return can


def _of_architecture(info: Line, key: str) -> int:
    return _count(info.get(f"{_text(info.get('general.architecture'))}.{key}"))


def _value(written: str) -> Json:
    try:
        value: Json = orjson.loads(written)
    except orjson.JSONDecodeError:
        return written
    return value


def _object(value: Json) -> Line:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Json) -> list[str]:
    items: Iterable[Json] = value if isinstance(value, list) else []
    return [each for each in items if isinstance(each, str)]


def _count(value: Json) -> int:
    return min(max(0, value), _UINT64) if isinstance(value, int) else 0
