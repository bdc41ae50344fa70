"""A model in one GGUF file: llama.cpp serves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from engine_worker.adapters.gguf_conversion import CONVERTIBLE
from engine_worker.engines.llamacpp.gguf import GgufFile
from engine_worker.engines.llamacpp.gguf_sampling import recommended_sampling
from engine_worker.host.models.base import Needs, StoredModel
from engine_worker.host.models.gguf_check import check_gguf
from engine_worker.host.models.layers import (
    adapter_bytes,
    add_layers,
    flags_of,
    jinja_of,
    licenses_of,
    overrides_of,
    value_of,
)
from engine_worker.host.models.model_settings import ModelSettings
from engine_worker.host.store.manifest import MODEL, Manifest
from engine_worker.host.store.store import Store
from engine_worker.settings import Task

# Of the process, its tokenizer and the buffers of a step, until a load was measured.
_OVERHEAD_BYTES = 350 << 20
_CONTEXT_LENGTH = 4096
_SLOTS = 8
# llama.cpp's number for the pooling of rerankers.
_RANK = 4
# What models write around their reasoning, in the words of their templates.
_TOOLS, _THINKING = "tools", ("<think>", "enable_thinking", "reasoning_content")


@dataclass(frozen=True, slots=True)
class GgufReader:
    """Implements Reader. `has_gpus`: layers may be on one of them. `inherited`: flags of all workers, which
    count less than those of a model.
    """

    store: Store
    has_gpus: bool = False
    inherited: Sequence[str] = ()

    def __call__(self, name: ModelName, manifest: Manifest, settings: ModelSettings) -> StoredModel | None:
        layers = manifest.of_type(MODEL)
        if not layers:
            return None
        path = self.store.blobs.path(layers[0].digest)
        check_gguf(path)
        file = GgufFile(path)
        overrides = overrides_of(self.store, manifest)
        flags = [*self.inherited, *flags_of(self.store, manifest), *settings.worker_flags]
        context_length = _context_length(flags, file)
        card = file.describe()
        card.names.append(name.short)
        card.digest = manifest.digest.removeprefix("sha256:")
        card.manifest = manifest.digest
        card.size_bytes = manifest.size_bytes
        card.context_length = context_length
        kv_bytes = file.kv_bytes(context_length * (int(value_of(flags, "--slots") or _SLOTS)))
        card.loaded_size_bytes = file.size_bytes + kv_bytes
        model_bytes = card.loaded_size_bytes + adapter_bytes(manifest)
        card.licenses.extend(licenses_of(self.store, manifest) or _license(file))
        card.defaults.CopyFrom(recommended_sampling(file.values))
        card.capabilities.CopyFrom(_capabilities(file, settings))
        card.template = jinja_of(self.store, manifest) or card.template
        card.template_source = "gguf_chat_template" if card.template else "none"
        card.engine_kind = "llamacpp"
        add_layers(card, self.store, manifest)
        overrides.describe(card, can_parse=True, adds=True)
        if not value_of(flags, "--context-length"):
            flags += ["--context-length", str(context_length)]
        return StoredModel(
            name,
            manifest,
            card,
            "llamacpp",
            ["--model", str(path), "--task", _task(file), *flags],
            _needs(file, model_bytes, int(value_of(flags, "--gpu-layers") or 0) if self.has_gpus else 0),
            is_pinned=settings.pinned,
            max_replicas=settings.max_replicas or 0,
            takes_adapters=bool(card.adapter_digests) or _takes_adapters(file, settings),
            unusable=settings.refusal("llamacpp"),
        )


def _needs(file: GgufFile, model_bytes: int, gpu_layers: int) -> Needs:
    """llama.cpp keeps the KV cache of a layer where its weights are; a negative number is all layers."""
    layers = file.integer("block_count", 1) + 1
    on_gpu = layers if gpu_layers < 0 else min(gpu_layers, layers)
    if not on_gpu:
        return Needs(model_bytes + _OVERHEAD_BYTES)
    gpu_bytes = model_bytes * on_gpu // layers
    return Needs(model_bytes - gpu_bytes + _OVERHEAD_BYTES, 1, gpu_bytes + _OVERHEAD_BYTES)


def _context_length(flags: list[str], file: GgufFile) -> int:
    trained = file.integer("context_length", _CONTEXT_LENGTH)
    chosen = int(value_of(flags, "--context-length") or _CONTEXT_LENGTH)
    return min(chosen, trained) if chosen else trained


def _task(file: GgufFile) -> Task:
    """A model with a pooling embeds, as in Ollama; one whose pooling ranks scores pairs of texts."""
    if not file.pooling_known:
        return "generate"
    return "rerank" if file.integer("pooling_type") == _RANK else "embed"


def _takes_adapters(file: GgufFile, settings: ModelSettings) -> bool:
    return _task(file) == "generate" and settings.adapters is not False


def _capabilities(file: GgufFile, settings: ModelSettings) -> pb.Capabilities:
    """As far as the file tells; the worker knows better when it has loaded the model."""
    if (task := _task(file)) != "generate":
        return pb.Capabilities(embedding=task == "embed", rerank=task == "rerank")
    takes_adapters = _takes_adapters(file, settings)
    return pb.Capabilities(
        completion=True,
        tools=_TOOLS in file.template,
        thinking=any(word in file.template for word in _THINKING),
        json_constraint=True,
        regex_constraint=True,
        ebnf_constraint=True,
        logprobs=True,
        seed=True,
        logit_bias=True,
        decision=True,
        gguf_adapters=takes_adapters,
        safetensors_adapters=takes_adapters and file.architecture in CONVERTIBLE,
    )


def _license(file: GgufFile) -> list[str]:
    text = file.values.get("general.license.text") or file.values.get("general.license")
    return [text] if isinstance(text, str) and text else []
