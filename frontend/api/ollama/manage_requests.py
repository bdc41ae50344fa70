"""The bodies of the requests that manage models.

Contract: ollama-contract.md, "Pull and push" and "Create, copy, delete and blobs".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from frontend.api.core.go_json import Json
from frontend.api.core.request import Message, NamedRequest, read_body, read_messages
from frontend.api.core.typed_fields import (
    FieldPath,
    Reader,
    anything,
    boolean,
    mapping,
    text,
    written_mapping,
)


@dataclass(slots=True)
class CreateRequest(NamedRequest):
    """What cannot be used here (weights, drafts, renderers, remote hosts) is read to be refused in words."""

    stream: bool = True
    template: str = ""
    system: str = ""
    # A text or a list of texts: create_checks.py.
    license: Json = None
    parameters: dict[str, Json] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    files: dict[str, str] | None = None
    adapters: dict[str, str] = field(default_factory=dict)
    quantize: str = ""
    quantization: str = ""
    draft_files: dict[str, str] | None = None
    draft_quantize: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    info: dict[str, Json] = field(default_factory=dict)
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


def _texts(value: Json, place: FieldPath) -> dict[str, str]:
    if not isinstance(value, dict):
        raise place.wrong_kind(value, "map[string]string")
    return {name: text(item, place) for name, item in value.items() if item is not None}


_TRANSFER: dict[str, Reader] = {"model": text, "name": text, "stream": boolean, "insecure": boolean}
_CREATE: dict[str, Reader] = {
    "model": text,
    "name": text,
    "from": text,
    "stream": boolean,
    "template": text,
    "system": text,
    "license": anything,
    "parameters": written_mapping,
    "messages": read_messages,
    "files": _texts,
    "adapters": _texts,
    "quantize": text,
    "quantization": text,
    "draft_files": _texts,
    "draft_quantize": text,
    "renderer": text,
    "parser": text,
    "requires": text,
    "remote_host": text,
    "info": mapping,
}
