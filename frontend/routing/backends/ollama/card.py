"""What `/api/show`, `/api/tags` and `/api/version` say of a model, as the fleet's Model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

import orjson

from drover.errors import WorkerUnreachable
from drover.json_value import Json
from drover.names import ModelName
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
# A host that does not say how long its context is.
_SOME_CONTEXT = 4096
# Of what a constraint, and answers' tokens are told by.
_PROTOCOL_CAN = pb.Capabilities(json_constraint=True, logprobs=True, seed=True)


def entry_of(models: Json, wanted: ModelName) -> Line | None:
    """The model's own entry in what `/api/tags` or `/api/ps` list."""
    for entry in models if isinstance(models, list) else []:
        name = (
            ModelName.parse(_text(entry.get("model") or entry.get("name")))
            if isinstance(entry, dict)
            else None
        )
        if name is not None and name.key == wanted.key and isinstance(entry, dict):
            return entry
    return None


def card(hosted: HostedModel, show: Line, tag: Line | None, version: str) -> pb.Model:
    """Raises WorkerUnreachable where the host does not list the model."""
    if tag is None:
        raise WorkerUnreachable(f"the Ollama host does not list {hosted.model.short}")
    details, info = _object(show.get("details")), _object(show.get("model_info"))
    trained = _of_architecture(info, "context_length")
    return pb.Model(
        names=[hosted.name.short],
        digest=_digest(hosted, tag),
        size_bytes=_count(tag.get("size")),
        context_length=trained or _SOME_CONTEXT,
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
        # A server that does not tell its models' abilities generates text.
        capabilities=_capabilities(_texts(show.get("capabilities", ["completion"]))),
        defaults=defaults_of(_text(show.get("parameters"))),
        engine_kind=KIND,
        engine_version=version,
        modified_unix_ns=unix_ns(tag.get("modified_at")),
        model_info_json=orjson.dumps(info).decode(),
    )


def _digest(hosted: HostedModel, tag: Line) -> str:
    """Where the server knows none, one of its own: other files must not be taken for these."""
    digest = _text(tag.get("digest")).removeprefix("sha256:").lower()
    return digest if _HEX.fullmatch(digest) else hashlib.sha256(repr(hosted).encode()).hexdigest()


def defaults_of(parameters: str) -> pb.Sampling:
    """Of lines like `temperature    0.7`; what the requests' sampling does not know stays the host's."""
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
    """Of a time as Go prints it; 0 where it is none. Python reads microseconds at most."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", _text(value))
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1e6) * 1000
    except (ValueError, OverflowError):
        return 0


def loaded_sizes(entry: Line) -> tuple[int, int]:
    """Bytes in memory, and on an accelerator."""
    return _count(entry.get("size")), _count(entry.get("size_vram"))


def _capabilities(named: Sequence[str]) -> pb.Capabilities:
    can = pb.Capabilities()
    if "completion" in named:
        can.CopyFrom(_PROTOCOL_CAN)
    for name in ("completion", "tools", "insert", "vision", "embedding", "thinking", "audio"):
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
