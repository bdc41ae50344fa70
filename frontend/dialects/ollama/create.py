"""From a `create` request to a preset (ollama-api.md section 4.7)."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace

from drover.errors import InvalidOption, InvalidRequest
from drover.go_template import TemplateError, parse_aside
from drover.names import ModelName
from frontend.catalog.model import CatalogModel
from frontend.catalog.preset import Example, Preset
from frontend.dialects.ollama.manage_wire import CreateRequest
from frontend.dialects.ollama.progress import Step, status
from frontend.dialects.ollama.wire import Message

_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_SERVE_WEIGHTS = (
    "this server does not take weights: engine workers serve them. Put the file where a worker can read it, "
    "start one (python -m engine_worker --engine llamacpp --model FILE.gguf --name NAME, or --engine sglang "
    "--model FOLDER), add its address to the frontend's --workers, and create from NAME"
)


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def check_source(request: CreateRequest) -> None:
    """Raises InvalidRequest unless the request names a model to make another one from."""
    files = {**(request.files or {}), **request.adapters}
    for path, digest in files.items():
        if path.startswith("/") or ".." in path.split("/"):
            raise InvalidRequest("file path must be relative")
        if not is_digest(digest):
            raise InvalidRequest("invalid digest format")
    if request.adapters:
        raise InvalidRequest(f"adapters cannot be added to a model here: {_SERVE_WEIGHTS}")
    if request.origin:
        return
    if request.files is None:
        raise InvalidRequest("neither 'from' or 'files' was specified")
    raise InvalidRequest(_SERVE_WEIGHTS if request.files else "no files provided to convert")


async def template_uses(template: str) -> frozenset[str]:
    """The variables that it mentions. Raises InvalidRequest for what cannot be read."""
    try:
        return (await parse_aside(template)).variables
    except TemplateError as error:
        raise InvalidRequest(f"template error: {error}") from error


def check_messages(messages: Sequence[Message]) -> None:
    """Raises InvalidRequest for what would be lost."""
    for number, message in enumerate(messages, 1):
        if message.images or message.tool_calls:
            what = "images" if message.images else "tool_calls"
            raise InvalidRequest(
                f"message {number} has {what}: the messages of a model have a role and a content here; "
                f"send {what} with each request"
            )


def check_quantize(request: CreateRequest) -> None:
    if request.quantize or request.quantization:
        raise InvalidOption("quantization is only supported for F16, BF16 and F32 models")


def preset_of(request: CreateRequest, name: ModelName, origin: CatalogModel, uses: frozenset[str]) -> Preset:
    """The origin's layers with the request's over them. What the served model itself brings stays there.
    `uses`: what the request's template mentions.
    """
    inherited = copy_of(origin, name)
    messages = [Example(message.role, message.content) for message in request.messages]
    return replace(
        inherited,
        parent=origin.name.short,
        template=request.template or inherited.template,
        template_uses=uses if request.template else inherited.template_uses,
        system=request.system or inherited.system,
        parameters={**inherited.parameters, **request.parameters},
        examples=tuple(messages) or inherited.examples,
        licenses=tuple(dict.fromkeys([*inherited.licenses, *request.license])),
    )


def copy_of(origin: CatalogModel, name: ModelName) -> Preset:
    """The same under another name."""
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
    """A line for each layer, in upstream's words."""
    there = {layer.digest for layer in origin.layers}
    layers = [
        status(f"{'using existing' if layer.digest in there else 'creating new'} layer {layer.digest}")
        for layer in CatalogModel(preset.name, origin.served, preset).layers
    ]
    return [*layers, status("writing manifest"), status("success")]
