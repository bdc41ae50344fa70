"""POST /api/create: its body, the checks before a preset is made, and the preset.

Checks raise InvalidRequest, and InvalidOption where upstream answers 500: for values of the wrong type, in
upstream's words, and for what this server cannot use.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from drover.errors import InvalidOption, InvalidRequest
from drover.go_template.errors import TemplateError
from drover.go_template.parse_async import parse_async, thinking_tags_aside
from drover.json_value import Json
from drover.names import ModelName
from drover.v1 import host_pb2
from frontend.api.core.go_json import dumps
from frontend.api.core.request import Message, NamedRequest, read_body, read_messages
from frontend.api.core.typed_fields import (
    FieldPath,
    Reader,
    anything,
    boolean,
    encodable_mapping,
    kind,
    mapping,
    text,
)
from frontend.api.ollama.create_declared import read_capabilities, with_declarations
from frontend.api.ollama.transfer import Step, status
from frontend.models.adapter import Adapter, named_files
from frontend.models.model import CatalogModel
from frontend.models.preset import Example, Preset

_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_VERSION = re.compile(
    r"v?(0|[1-9]\d*)(?:\.(0|[1-9]\d*))?(?:\.(0|[1-9]\d*))?(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
)
_INFO_TEXTS = ("model_family", "base_name", "quantization_level", "parameter_size")
_INFO_NUMBERS = ("context_length", "embedding_length")
_SERVE_WEIGHTS = (
    "this server does not take weights: engine workers serve them. Put the file where a worker can read it, "
    "start one (python -m engine_worker --engine llamacpp --model FILE.gguf --name NAME, or --engine sglang "
    "--model FOLDER), add its address to the frontend's --workers, and create from NAME"
)


@dataclass(slots=True)
class CreateRequest(NamedRequest):
    """The body. Weights and remote hosts are read so that the error can name them."""

    stream: bool = True
    template: str = ""
    system: str = ""
    # A text or a list of texts: see licenses_of.
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
    # What CAPABILITY lines declare; `info` may have some too.
    capabilities: list[str] = field(default_factory=list)
    remote_host: str = ""
    info: dict[str, Json] = field(default_factory=dict)
    # The body's `from`, which is no name in Python.
    origin: str = ""

    @classmethod
    def read(cls, body: Json) -> CreateRequest:
        return read_body(cls, body, "CreateRequest", _CREATE, {"from": "origin"})


def _texts(value: Json, path: FieldPath) -> dict[str, str]:
    if not isinstance(value, dict):
        raise path.wrong_kind(value, "map[string]string")
    return {name: text(item, path) for name, item in value.items() if item is not None}


_CREATE: dict[str, Reader] = {
    "model": text,
    "name": text,
    "from": text,
    "stream": boolean,
    "template": text,
    "system": text,
    "license": anything,
    "parameters": encodable_mapping,
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
    "capabilities": read_capabilities,
    "remote_host": text,
    "info": mapping,
}


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def check_source(request: CreateRequest) -> None:
    """Require a model to derive the preset from, and no weights."""
    check_files(request)
    if request.origin:
        return
    if request.files is None:
        raise InvalidRequest("neither 'from' or 'files' was specified")
    raise InvalidRequest(_SERVE_WEIGHTS if request.files else "no files provided to convert")


def check_files(request: CreateRequest) -> None:
    """Check the paths and digests of all files."""
    files = {**(request.files or {}), **request.adapters, **(request.draft_files or {})}
    for path, digest in files.items():
        if path.startswith("/") or ".." in path.split("/"):
            raise InvalidRequest("file path must be relative")
        if not is_digest(digest):
            raise InvalidRequest("invalid digest format")


def check_unusable(request: CreateRequest, version: str) -> None:
    """Check fields as upstream does, then refuse them. `version`: Ollama's, whose API this server has."""
    _check_draft(request)
    _check_remote(request.remote_host)
    _check_requires(request.requires, version)
    _check_info(request.info)


def _check_draft(request: CreateRequest) -> None:
    if request.draft_quantize and not request.draft_files:
        raise InvalidRequest("--draft-quantize requires a DRAFT model")
    if request.draft_files is not None and not request.draft_files:
        raise InvalidRequest("unknown type")


def _check_remote(host: str) -> None:
    if not host:
        return
    try:
        urlsplit(host if "://" in host else f"http://{host}").port  # noqa: B018 - raises for what is none
    except ValueError:
        raise InvalidRequest("bad remote") from None
    raise InvalidRequest(
        f"remote_host: {host!r} cannot be used: models on other hosts are the operator's to name, as "
        "ollama:http://HOST:11434/MODEL#NAME among the frontend's --workers"
    )


def _check_requires(requires: str, version: str) -> None:
    if not requires:
        return
    wanted, spoken = _VERSION.fullmatch(requires), _VERSION.fullmatch(version)
    if wanted is None:
        raise InvalidRequest("requires must be a valid semver (e.g. 0.14.0)")
    if spoken is not None and _numbers(wanted) > _numbers(spoken):
        raise InvalidRequest(f"requires: {requires} is newer than {version}, whose API this server speaks")


def _numbers(version: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(part or 0) for part in version.groups())


def _check_info(info: Mapping[str, Json]) -> None:
    if "capabilities" in info:
        _check_capabilities(info["capabilities"])
    for name in _INFO_TEXTS:
        if name in info and not isinstance(info[name], str):
            raise InvalidRequest(f'info field "{name}" must be a string')
    for name in _INFO_NUMBERS:
        if name in info:
            _check_count(name, info[name])
    known = [name for name in (*_INFO_TEXTS, *_INFO_NUMBERS) if name in info]
    if known:
        raise InvalidRequest(
            f"info: {', '.join(known)} cannot be set: what a model is comes from the workers that serve it"
        )


def _check_capabilities(value: Json) -> None:
    if not isinstance(value, list):
        raise InvalidRequest('info field "capabilities" must be an array of strings')
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise InvalidRequest(f'info field "capabilities" element {index} must be a string')


def _check_count(name: str, value: Json) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f'info field "{name}" must be a number')
    if value < 0 or value != int(value):
        raise InvalidRequest(f'info field "{name}" must be a non-negative integer')


def check_messages(messages: Sequence[Message]) -> None:
    """Refuse images and tool calls, which a preset does not keep."""
    for number, message in enumerate(messages, 1):
        if message.images or message.tool_calls:
            what = "images" if message.images else "tool_calls"
            raise InvalidRequest(
                f"message {number} has {what}: the messages of a model have a role and a content here; "
                f"send {what} with each request"
            )


def check_quantize(request: CreateRequest) -> None:
    if request.quantize or request.quantization:
        raise InvalidOption(
            "quantization is only supported for F16, BF16 and F32 models, and not by this server: quantize "
            "the GGUF file before (llama.cpp has llama-quantize for that), and create the model of the result"
        )


def licenses_of(value: Json) -> list[str]:
    """One text, or a list of them. As upstream, an empty one counts only in a list (`LICENSE ""`)."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise _no_license(value, "[]string")
    texts = []
    for item in value:
        if item is not None and not isinstance(item, str):
            raise _no_license(item, "string")
        texts.append(item or "")
    return texts


def _no_license(value: Json, go_type: str) -> InvalidOption:
    return InvalidOption(f"json: cannot unmarshal {kind(value)} into Go value of type {go_type}")


_NOT_JINJA = (
    " (a Jinja template is taken only where it is the model's own, as show prints it; another one is set "
    "where a worker starts, with --chat-template)"
)


async def template_of(request: CreateRequest, origin: CatalogModel) -> tuple[str, frozenset[str]]:
    """The request's template and its variables, or "" where it is the origin's own.

    Clients send back what `show` prints, which may be Jinja. Raises InvalidRequest for any other template
    that is no Go template.
    """
    template = request.template
    if not template or template.strip() == origin.template.strip():
        return "", frozenset()
    try:
        parsed = await parse_async(template)
    except TemplateError as error:
        hint = _NOT_JINJA if _looks_like_jinja(template) else ""
        raise InvalidRequest(f"template error: {error}{hint}") from error
    # As in Ollama: thinking can be separated from the text only where the template puts it in tags.
    finds_thinking = await thinking_tags_aside(parsed)
    return template, parsed.variables if finds_thinking else parsed.variables - {"thinking"}


def _looks_like_jinja(template: str) -> bool:
    return "{%" in template


def preset_of(
    request: CreateRequest,
    name: ModelName,
    origin: CatalogModel,
    template: str,
    uses: frozenset[str],
    adapter: Adapter | None = None,
) -> Preset:
    """The origin's layers, overridden by the request's. What the served model itself has is not copied.
    `template` and `uses`: of `template_of`; `adapter`: the request's.
    """
    inherited = copy_of(origin, name)
    # `show` prints the served model's licences too.
    added = [text for text in licenses_of(request.license) if text not in origin.info.licenses]
    messages = [Example(message.role, message.content) for message in request.messages]
    declaring = with_declarations(
        inherited, request.renderer, request.parser, [*(request.draft_files or {})], _declared(request)
    )
    return replace(
        declaring,
        parent=origin.name.short,
        template=template or inherited.template,
        template_uses=uses if template else inherited.template_uses,
        system=request.system or inherited.system,
        parameters={**inherited.parameters, **request.parameters},
        examples=tuple(messages) or inherited.examples,
        licenses=tuple(dict.fromkeys([*inherited.licenses, *added])),
        requires=request.requires.removeprefix("v") or inherited.requires,
        adapter=adapter or inherited.adapter,
    )


def store_request_of(request: CreateRequest, name: ModelName) -> host_pb2.CreateRequest:
    """A model of uploaded files. Raises InvalidRequest for what cannot be part of one."""
    check_files(request)
    check_quantize(request)
    check_messages(request.messages)
    return host_pb2.CreateRequest(
        model=name.short,
        files={path: digest.replace("-", ":", 1).lower() for path, digest in (request.files or {}).items()},
        adapters=named_files(request.adapters) if request.adapters else {},
        template=request.template,
        system=request.system,
        licenses=licenses_of(request.license),
        parameters_json=dumps(request.parameters).decode() if request.parameters else "",
        messages_json=dumps(
            [{"role": each.role, "content": each.content} for each in request.messages]
        ).decode()
        if request.messages
        else "",
    )


def _declared(request: CreateRequest) -> Sequence[str]:
    more = request.info.get("capabilities")
    return [
        *request.capabilities,
        *(word for word in (more if isinstance(more, list) else []) if isinstance(word, str)),
    ]


def copy_of(origin: CatalogModel, name: ModelName) -> Preset:
    """A preset like `origin` under another name."""
    now_ns = time.time_ns()
    if origin.preset is not None:
        return replace(origin.preset, name=name, modified_unix_ns=now_ns)
    return Preset(
        name=name,
        base=origin.name,
        base_digest=origin.info.digest,
        base_size_bytes=origin.info.size_bytes,
        modified_unix_ns=now_ns,
    )


def steps_of(preset: Preset, origin: CatalogModel) -> Sequence[Step]:
    """A step for each layer, in upstream's words."""
    there = {layer.digest for layer in origin.layers}
    layers = [
        status(f"{'using existing' if layer.digest in there else 'creating new'} layer {layer.digest}")
        for layer in CatalogModel(preset.name, origin.served, preset).layers
    ]
    return [*layers, status("writing manifest"), status("success")]
