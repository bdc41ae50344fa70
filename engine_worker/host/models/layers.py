"""What a manifest adds to a model's weights: template, system message, parameters, licences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

import orjson

from drover.adapters import GGUF_FILE, SAFETENSORS_FILES
from drover.errors import InvalidRequest
from drover.go_template.errors import TemplateError
from drover.go_template.template import parse
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.overrides import ModelOverrides
from engine_worker.host.store.manifest import (
    ADAPTER,
    JINJA,
    LICENSE,
    MESSAGES,
    PARAMETERS,
    SYSTEM,
    TEMPLATE,
    Layer,
    Manifest,
)
from engine_worker.host.store.store import Store
from engine_worker.parameters import SAMPLING_PARAMETERS, STARTING_PARAMETERS, read_parameters
from engine_worker.settings import Task

_MAX_TEXT_BYTES = 1024 * 1024
_MAX_LICENSES = 64
# Linux allows 128 KiB for each argument of a command.
_MAX_FLAG_BYTES = 100_000


def overrides_of(store: Store, manifest: Manifest) -> ModelOverrides:
    """Raises ValueError for a template or parameters that cannot be read."""
    template = _last(store, manifest.of_type(TEMPLATE))
    try:
        go_template = parse(template) if template else None
    except TemplateError as error:
        raise ValueError(f"the model's template cannot be read: {error}") from error
    return ModelOverrides(
        system=_last(store, manifest.of_type(SYSTEM)),
        parameters=read_parameters(_parameters(store, manifest).sampling_json),
        go_template=go_template,
    )


def flags_of(store: Store, manifest: Manifest) -> list[str]:
    """Of a worker that gets the same overrides."""
    flags: list[str] = []
    if layers := manifest.of_type(TEMPLATE):
        flags += ["--chat-template", str(store.link(layers[-1].digest, "template.gotmpl"))]
    if layers := manifest.of_type(JINJA):
        flags += ["--chat-template", str(store.link(layers[-1].digest, "template.jinja"))]
    if layers := manifest.of_type(SYSTEM):
        flags += ["--system-file", str(store.link(layers[-1].digest, "system.txt"))]
    parameters = _parameters(store, manifest)
    if len(parameters.sampling_json) > _MAX_FLAG_BYTES:
        raise ValueError(f"the model's parameters are longer than {_MAX_FLAG_BYTES} bytes")
    if parameters.sampling_json:
        flags += ["--parameters", parameters.sampling_json]
    for parameter, value in parameters.starting.items():
        flags += [STARTING_PARAMETERS[parameter], str(value)]
    if adapter := adapter_of(store, manifest):
        flags += ["--applied-adapter", str(adapter)]
    return flags


def value_of(flags: Sequence[str], flag: str) -> str:
    """Of a worker's flag, whose value may follow `=`; the last one counts. Empty if it is not there."""
    value = ""
    for number, each in enumerate(flags):
        name, equals, text = each.partition("=")
        if name == flag:
            value = text if equals else "".join(flags[number + 1 : number + 2])
    return value


def task_of(flags: Sequence[str]) -> Task | None:
    """What an operator's flags say that the worker is for. Raises ValueError for a task that there is not."""
    text = value_of(flags, "--task")
    if not text:
        return None
    for task in get_args(Task):
        if task == text:
            return cast(Task, task)
    raise ValueError(f"--task {text}: the tasks are {', '.join(get_args(Task))}")


def adapter_of(store: Store, manifest: Manifest) -> Path | None:
    """The adapter that all requests get, as a worker takes it. Raises ValueError for more than one, and for
    files that are none.
    """
    layers = manifest.of_type(ADAPTER)
    titles = sorted(layer.title or GGUF_FILE for layer in layers)
    if not titles:
        return None
    if titles == [GGUF_FILE]:
        return store.adapter_folder_of(manifest) / GGUF_FILE
    if titles != sorted(SAFETENSORS_FILES):
        raise ValueError("the manifest's adapter must be one GGUF file, or the two files that PEFT writes")
    return store.adapter_folder_of(manifest)


def adapter_bytes(manifest: Manifest) -> int:
    return sum(layer.size_bytes for layer in manifest.of_type(ADAPTER))


def add_layers(card: pb.Model, store: Store, manifest: Manifest) -> None:
    """What no worker knows of its model: starting parameters, messages, and the blobs of its adapter.

    With an adapter of its own a model takes no other one.
    """
    card.starting_parameters_json = _starting_json_of(store, manifest)
    card.messages_json = _messages_json_of(store, manifest)
    card.adapter_digests.extend(layer.digest for layer in manifest.of_type(ADAPTER))
    if card.adapter_digests:
        card.capabilities.gguf_adapters = card.capabilities.safetensors_adapters = False


def _messages_json_of(store: Store, manifest: Manifest) -> str:
    """Those that go before the messages of every request. Raises ValueError for what is no list of them."""
    text = _last(store, manifest.of_type(MESSAGES))
    if not text:
        return ""
    try:
        messages = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the model's messages are not JSON: {error}") from error
    match messages:
        case [*each] if all(_is_message(message) for message in each):
            kept = [{"role": message["role"], "content": message["content"]} for message in each]
            return orjson.dumps(kept).decode() if kept else ""
    raise ValueError("the model's messages are no list with a role and a content each")


def _is_message(value: object) -> bool:
    match value:
        case {"role": str(), "content": str()}:
            return True
    return False


def _starting_json_of(store: Store, manifest: Manifest) -> str:
    """The parameters that a worker is started with, as a JSON object; empty if there are none."""
    starting = _parameters(store, manifest).starting
    return orjson.dumps(starting).decode() if starting else ""


def jinja_of(store: Store, manifest: Manifest) -> str:
    return _last(store, manifest.of_type(JINJA))


def licenses_of(store: Store, manifest: Manifest) -> list[str]:
    """Each once. Raises ValueError for more than models have."""
    digests = dict.fromkeys(layer.digest for layer in manifest.of_type(LICENSE))
    if len(digests) > _MAX_LICENSES:
        raise ValueError(f"the model has {len(digests)} licences; at most {_MAX_LICENSES} are read")
    return [text_of(store.blobs.path(digest)) for digest in digests]


def text_of(path: Path) -> str:
    """Raises ValueError for a text that is longer than texts are."""
    if path.stat().st_size > _MAX_TEXT_BYTES:
        raise ValueError(f"{path.name} is longer than {_MAX_TEXT_BYTES} bytes, too long for a text")
    return path.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class _Parameters:
    """`starting`: those that a worker is started with."""

    sampling_json: str = ""
    starting: Mapping[str, int] = field(default_factory=dict)


def _parameters(store: Store, manifest: Manifest) -> _Parameters:
    """The parameters that workers know; others are left out, as Ollama does."""
    text = _last(store, manifest.of_type(PARAMETERS))
    if not text:
        return _Parameters()
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the model's parameters are not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError("the model's parameters are no JSON object")
    sampling = {name: value for name, value in values.items() if name in SAMPLING_PARAMETERS}
    starting = {
        name: value
        for name in STARTING_PARAMETERS
        if isinstance(value := values.get(name), int) and not isinstance(value, bool) and value >= 0
    }
    return _Parameters(orjson.dumps(sampling).decode() if sampling else "", starting)


def _last(store: Store, layers: Sequence[Layer]) -> str:
    """A later layer replaces an earlier one of the same kind."""
    if not layers:
        return ""
    try:
        return text_of(store.blobs.path(layers[-1].digest))
    except (InvalidRequest, OSError) as error:
        raise ValueError(str(error)) from error
