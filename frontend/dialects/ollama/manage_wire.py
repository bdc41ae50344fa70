"""The bodies of the requests that manage models (ollama-api.md sections 4.6 and 4.7)."""

from __future__ import annotations

from dataclasses import dataclass, field

from drover.errors import InvalidRequest
from frontend.dialects.ollama.decode import Place, Reader, boolean, text, written_mapping
from frontend.dialects.ollama.go_json import Json
from frontend.dialects.ollama.wire import Message, NamedRequest, read_body, read_messages


@dataclass(slots=True)
class CreateRequest(NamedRequest):
    """`files`, `adapters` and `quantize` are read to be refused with a reason; what else upstream knows
    (renderer, parser, requires, info) changes nothing here.
    """

    stream: bool = True
    template: str = ""
    system: str = ""
    license: list[str] = field(default_factory=list)
    parameters: dict[str, Json] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    files: dict[str, str] | None = None
    adapters: dict[str, str] = field(default_factory=dict)
    quantize: str = ""
    quantization: str = ""
    # The body's `from`, which is no name in Python.
    origin: str = ""

    @classmethod
    def read(cls, body: Json) -> CreateRequest:
        return read_body(cls, body, "CreateRequest", _CREATE, {"from": "origin"})


@dataclass(slots=True)
class CopyRequest:
    source: str = ""
    destination: str = ""

    @classmethod
    def read(cls, body: Json) -> CopyRequest:
        return read_body(cls, body, "CopyRequest", {"source": text, "destination": text})


@dataclass(slots=True)
class TransferRequest(NamedRequest):
    """Of pull and push."""

    stream: bool = True
    insecure: bool = False


def read_delete(body: Json) -> NamedRequest:
    return read_body(NamedRequest, body, "DeleteRequest", {"model": text, "name": text})


def read_pull(body: Json) -> TransferRequest:
    return read_body(TransferRequest, body, "PullRequest", _TRANSFER)


def read_push(body: Json) -> TransferRequest:
    return read_body(TransferRequest, body, "PushRequest", _TRANSFER)


def _texts(value: Json, place: Place) -> dict[str, str]:
    if not isinstance(value, dict):
        raise place.wrong_kind(value, "map[string]string")
    return {name: text(item, place) for name, item in value.items() if item is not None}


def _licenses(value: Json, place: Place) -> list[str]:
    """One text, or a list of them."""
    texts = value if isinstance(value, list) else [value]
    licenses = [item for item in texts if isinstance(item, str)]
    if len(licenses) != len(texts):
        raise InvalidRequest("license must be a string or a list of strings")
    return [item for item in licenses if item]


_TRANSFER: dict[str, Reader] = {"model": text, "name": text, "stream": boolean, "insecure": boolean}
_CREATE: dict[str, Reader] = {
    "model": text,
    "name": text,
    "from": text,
    "stream": boolean,
    "template": text,
    "system": text,
    "license": _licenses,
    "parameters": written_mapping,
    "messages": read_messages,
    "files": _texts,
    "adapters": _texts,
    "quantize": text,
    "quantization": text,
}
