"""A model in Hugging Face's layout: SGLang serves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.numbers import human_count
from engine_worker.engines.sglang.metadata import metadata_json
from engine_worker.engines.sglang.model_config import integer, text_config
from engine_worker.engines.sglang.model_files import ModelFiles
from engine_worker.engines.sglang.options import MEMORY_SAVER
from engine_worker.host.models.base import StoredModel
from engine_worker.host.models.layers import (
    adapter_bytes,
    add_layers,
    flags_of,
    licenses_of,
    overrides_of,
    task_of,
    value_of,
)
from engine_worker.host.models.model_settings import ModelSettings
from engine_worker.host.models.safetensors_check import check_folder
from engine_worker.host.models.sglang_memory import adapter_room_bytes, estimate, is_float32
from engine_worker.host.store.manifest import FILE, Manifest
from engine_worker.host.store.store import Store
from engine_worker.settings import Task

_CLASSIFIER, _ENCODERS, _MODULES = "ForSequenceClassification", ("BertModel", "RobertaModel"), "modules.json"
_MAX_CONFIG_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SafetensorsReader:
    """Implements Reader. `python`: of SGLang's environment; empty where there is none. `gpu_bytes`: what
    models may take of a GPU; 0 where there is none. `inherited`: as of GgufReader.
    """

    store: Store
    python: str
    gpu_bytes: int = 0
    inherited: Sequence[str] = ()

    def __call__(self, name: ModelName, manifest: Manifest, settings: ModelSettings) -> StoredModel | None:
        if not manifest.of_type(FILE):
            return None
        folder = self.store.folder_of(manifest)
        check_folder(folder)
        files, config = ModelFiles(folder), _config(folder)
        text = text_config(config)
        overrides = overrides_of(self.store, manifest)
        flags = [*self.inherited, *flags_of(self.store, manifest), *settings.worker_flags]
        task = task_of(flags) or _task(config, folder)
        takes_adapters = task == "generate" and bool(settings.adapters)
        trained = integer(text, "max_position_embeddings")
        has_room = takes_adapters or bool(adapter_bytes(manifest))
        room_bytes = adapter_room_bytes(text, flags, self.gpu_bytes) if has_room else 0
        is_wide = is_float32(flags, self.gpu_bytes)
        weight_bytes = files.float32_size_bytes if is_wide else files.size_bytes
        memory = estimate(weight_bytes + room_bytes, text, flags, self.gpu_bytes)
        family = str(config.get("model_type", "unknown"))
        card = pb.Model(
            names=[name.short],
            digest=manifest.digest.removeprefix("sha256:"),
            manifest=manifest.digest,
            size_bytes=manifest.size_bytes,
            loaded_size_bytes=weight_bytes + memory.kv_bytes,
            context_length=int(value_of(flags, "--context-length") or 0) or trained,
            trained_context_length=trained,
            embedding_length=integer(text, "hidden_size"),
            parameter_count=files.parameter_count,
            parameter_size=human_count(files.parameter_count) if files.parameter_count else "",
            quantization=files.common_type,
            format="safetensors",
            family=family,
            families=[family],
            template=_template(folder),
            licenses=licenses_of(self.store, manifest) or files.licenses(),
            capabilities=_capabilities(task, _template(folder), takes_adapters),
            engine_kind="sglang",
            modified_unix_ns=files.modified_unix_ns,
            model_info_json=metadata_json(family, name.model, text, files),
            tensors=files.tensors(),
        )
        add_layers(card, self.store, manifest)
        card.template_source = "gguf_chat_template" if card.template else "none"
        overrides.describe(card, can_parse=True)
        return StoredModel(
            name,
            manifest,
            card,
            "sglang",
            ["--model", str(folder), "--task", task, *memory.flags, *flags],
            memory.needs,
            memory.static_gpu_bytes,
            is_pinned=settings.pinned,
            max_replicas=settings.max_replicas or 0,
            takes_adapters=bool(card.adapter_digests) or takes_adapters,
            sleeps=MEMORY_SAVER in " ".join(settings.worker_flags),
            unusable=settings.refusal("sglang") or ("" if self.python else _NO_SGLANG),
        )


_NO_SGLANG = (
    "the model is in safetensors files, which the engine SGLang serves, and its environment is not on this "
    "host. Make it with scripts/setup.sh sglang, which prints its Python, or with pip install "
    "'drover[sglang]', and start the host with --sglang-python"
)


def _config(folder: Path) -> Mapping[str, object]:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError("the model has no config.json")
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise ValueError(f"config.json is longer than {_MAX_CONFIG_BYTES} bytes")
    try:
        config = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"config.json is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError("config.json is no JSON object")
    return config


def _template(folder: Path) -> str:
    jinja = folder / "chat_template.jinja"
    if jinja.is_file() and jinja.stat().st_size <= _MAX_CONFIG_BYTES:
        return jinja.read_text(errors="replace")
    settings = folder / "tokenizer_config.json"
    if not settings.is_file() or settings.stat().st_size > 16 * _MAX_CONFIG_BYTES:
        return ""
    try:
        template = orjson.loads(settings.read_bytes()).get("chat_template", "")
    except (orjson.JSONDecodeError, AttributeError):
        return ""
    return template if isinstance(template, str) else ""


def _task(config: Mapping[str, object], folder: Path) -> Task:
    """As its configuration says: a classifier's only class is a reranker's score. Embedding models are
    encoders, or have the list of modules of sentence-transformers.
    """
    match config.get("architectures"):
        case [str(architecture), *_] if architecture.endswith(_CLASSIFIER):
            labels = config.get("id2label")
            return "rerank" if isinstance(labels, Mapping) and len(labels) == 1 else "classify"
        case [str(architecture), *_] if architecture.endswith(_ENCODERS):
            return "embed"
    return "embed" if (folder / _MODULES).is_file() else "generate"


def _capabilities(task: Task, template: str, takes_adapters: bool) -> pb.Capabilities:
    """As far as the files tell; the worker knows better when it has loaded the model."""
    if task != "generate":
        return pb.Capabilities(
            embedding=task == "embed", rerank=task == "rerank", classify=task == "classify"
        )
    return pb.Capabilities(
        completion=True,
        tools="tools" in template,
        thinking="<think>" in template or "enable_thinking" in template,
        json_constraint=True,
        regex_constraint=True,
        ebnf_constraint=True,
        logprobs=True,
        logit_bias=True,
        resume=True,
        safetensors_adapters=takes_adapters,
    )
