"""What the SGLang engine says of its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.numbers import human_count
from engine_worker.engines.sglang.metadata import metadata_json
from engine_worker.engines.sglang.model_config import integer, text_config
from engine_worker.engines.sglang.model_files import ModelFiles
from engine_worker.engines.sglang.options import SglangOptions
from engine_worker.engines.sglang.upstream import VERSION

if TYPE_CHECKING:
    from engine_worker.engines.sglang.upstream.model import LoadedModel

ENGINE_KIND = "sglang"
# Ollama's names of what a generation_config.json sets; the rest of it has none.
_DEFAULTS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}


def describe(options: SglangOptions, loaded: LoadedModel) -> pb.Model:
    """Describe the model. Blocking: it reads the headers of the model's files."""
    files = ModelFiles(loaded.folder)
    family = str(loaded.config.get("model_type", "unknown"))
    text = text_config(loaded.config)
    go_template = options.overrides.go_template
    model = pb.Model(
        names=options.names,
        digest=files.digest(go_template.source if go_template else loaded.templates.source),
        size_bytes=files.size_bytes,
        loaded_size_bytes=loaded.loaded_bytes,
        loaded_vram_bytes=loaded.loaded_bytes if loaded.on_accelerator else 0,
        context_length=loaded.context_length,
        trained_context_length=loaded.trained_context_length,
        embedding_length=integer(text, "hidden_size"),
        parameter_count=files.parameter_count,
        parameter_size=human_count(files.parameter_count) if files.parameter_count else "",
        quantization=_quantization(loaded.config, files),
        format="safetensors",
        family=family,
        families=[family],
        template=loaded.templates.source,
        licenses=files.licenses(),
        capabilities=_capabilities(options, loaded),
        defaults=defaults(loaded.defaults),
        engine_kind=ENGINE_KIND,
        engine_version=VERSION,
        modified_unix_ns=files.modified_unix_ns,
        model_info_json=metadata_json(family, files.folder.name, text, files),
        pinned=options.pinned,
        tensors=files.tensors(),
    )
    if options.generates:
        _describe_chats(model, loaded)
    options.overrides.describe(model, can_parse=True)
    return model


def _describe_chats(model: pb.Model, loaded: LoadedModel) -> None:
    templates = loaded.templates
    if (thinking := templates.thinking) is not None:
        model.thinking.CopyFrom(thinking)
    model.renderer = templates.renderer
    model.parser = templates.tool_call_parser or templates.reasoning_parser or ""
    if templates.renderer:
        model.template_source = "renderer"
    else:
        model.template_source = "gguf_chat_template" if templates.exists else "none"


def defaults(generation_config: Mapping[str, float]) -> pb.Sampling:
    """The sampling defaults of generation_config.json, as PARAMETERs (ollama-contract.md, "Options")."""
    sampling = pb.Sampling()
    for theirs, ours in _DEFAULTS.items():
        if theirs in generation_config:
            setattr(sampling, ours, generation_config[theirs])
    if "top_k" in generation_config:
        sampling.top_k = int(generation_config["top_k"])
    return sampling


def _capabilities(options: SglangOptions, loaded: LoadedModel) -> pb.Capabilities:
    if not options.generates:
        task = options.task
        return pb.Capabilities(
            embedding=task == "embed", rerank=task == "rerank", classify=task == "classify"
        )
    return pb.Capabilities(
        completion=True,
        tools=loaded.templates.tool_call_parser is not None,
        thinking=loaded.templates.reasoning_parser is not None,
        insert=loaded.vocabulary.can_fill_in,
        vision=loaded.templates.sees,
        json_constraint=loaded.can_constrain,
        regex_constraint=loaded.can_constrain,
        ebnf_constraint=loaded.can_constrain,
        logprobs=True,
        seed=loaded.can_seed,
        logit_bias=True,
        priority=loaded.has_priorities,
        resume=True,
        safetensors_adapters=options.adapters is not None,
        resume_constraint=loaded.can_resume_constraint,
    )


def _quantization(config: Mapping[str, object], files: ModelFiles) -> str:
    quantized = config.get("quantization_config")
    if isinstance(quantized, Mapping):
        return str(quantized.get("quant_method", "unknown")).upper()
    return files.common_type
