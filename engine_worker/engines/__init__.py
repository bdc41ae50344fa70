"""Build the engine that the settings choose. Only this module knows all engines."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from drover.go_template.errors import TemplateError
from drover.go_template.template import Template, parse
from drover.names import ModelName
from engine_worker import default_model
from engine_worker.cpu import spare_one_core, usable_cores
from engine_worker.engines.base import Engine
from engine_worker.engines.overrides import ModelOverrides
from engine_worker.parameters import read_parameters
from engine_worker.settings import WorkerSettings

_CONTEXT_LENGTH = 4096
_SLOTS = 8
_LLAMACPP_CHUNK = 16
_GO_TEMPLATES = (".gotmpl", ".tmpl")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")

if TYPE_CHECKING:
    from engine_worker.engines.sglang.options import SglangOptions

__all__ = ["Engine", "build_engine"]


def build_engine(settings: WorkerSettings) -> Engine:
    """Import and build the chosen engine. Raises ValueError, with what to do, for a missing model."""
    match settings.engine:
        case "simulator":
            return _simulator(settings)
        case "sglang":
            return _sglang(settings)
        case "llamacpp":
            return _llamacpp(settings)


def _simulator(settings: WorkerSettings) -> Engine:
    from engine_worker.engines.simulator import SimulatorConfig, SimulatorEngine

    config = SimulatorConfig(
        prefill_tokens_per_second=settings.sim_prefill_tokens_per_second,
        prefill_chunk_tokens=settings.sim_prefill_chunk_tokens,
        decode_step_base_ms=settings.sim_decode_step_base_ms,
        decode_step_per_running_ms=settings.sim_decode_step_per_running_ms,
        running_limit=settings.sim_running_limit,
        kv_tokens=settings.sim_kv_tokens,
        context_length=_context_length(settings) or 8192,
        block_tokens=settings.sim_block_tokens,
        queue_limit=settings.queue_limit,
        seed=settings.sim_seed,
        answer_tokens_min=settings.sim_answer_tokens_min,
        answer_tokens_max=settings.sim_answer_tokens_max,
        token_bytes=settings.sim_token_bytes,
        load_ms=settings.sim_load_ms,
        stall_prefill_after_tokens=settings.sim_stall_prefill_after_tokens,
        stall_decode_after_tokens=settings.sim_stall_decode_after_tokens,
        script_path=Path(settings.sim_script) if settings.sim_script else None,
    )
    names = _names(settings, settings.model or "simulator")
    return SimulatorEngine(
        names, config, settings.task, model_overrides(settings), takes_adapters=bool(settings.adapters)
    )


def _llamacpp(settings: WorkerSettings) -> Engine:
    if find_spec("xllamacpp") is None:
        raise ValueError("the llamacpp engine needs the package xllamacpp: pip install 'drover[worker]'")
    from engine_worker.engines.llamacpp import LlamacppEngine, LlamacppOptions

    path = Path(settings.model) if settings.model else default_model.gguf_path()
    if not path.is_file():
        raise ValueError(f"--model {settings.model}: there is no such file; give the path of a GGUF file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"--model {settings.model}: this is not a GGUF file")
    template = _jinja_template(settings.chat_template)
    default_name = path.stem if settings.model else default_model.NAME
    return LlamacppEngine(
        LlamacppOptions(
            model_path=path,
            names=_names(settings, default_name),
            context_length=_context_length(settings),
            slots=settings.slots or _SLOTS,
            threads=settings.threads or usable_cores(),
            prefill_chunk_tokens=settings.prefill_chunk_tokens or _LLAMACPP_CHUNK,
            queue_limit=settings.queue_limit,
            gpu_layers=settings.gpu_layers,
            sliding_window_cache_bytes=settings.sliding_window_cache_mib << 20,
            chat_template=template or ("" if settings.model else default_model.TEMPLATE),
            task=settings.task,
            takes_adapters=bool(settings.adapters),
            overrides=model_overrides(settings),
        )
    )


def _sglang(settings: WorkerSettings) -> Engine:
    from engine_worker.engines.sglang.engine import SglangEngine
    from engine_worker.engines.sglang.upstream.environment import check_installed
    from engine_worker.engines.sglang.upstream.tracing import check_packages

    check_installed()
    check_packages(settings.sglang_flags)
    return SglangEngine(sglang_options(settings))


def sglang_options(settings: WorkerSettings) -> SglangOptions:
    """Raises ValueError, with what to do, for a model or a template that cannot be found."""
    from engine_worker.engines.sglang.options import (
        MEMORY_SAVER,
        WEIGHTS_BACKUP,
        AdapterRoom,
        SglangOptions,
    )

    if MEMORY_SAVER in settings.sglang_flags and WEIGHTS_BACKUP not in settings.sglang_flags:
        raise ValueError(
            f"--sglang-args: {MEMORY_SAVER} without {WEIGHTS_BACKUP} would lose the weights when the model "
            "is unloaded; give both"
        )

    jinja = _jinja_template(settings.chat_template)
    if jinja and not settings.chat_template.endswith(".jinja"):
        raise ValueError(
            f"--chat-template {settings.chat_template}: SGLang wants a name that ends with .jinja, or with "
            ".gotmpl for Ollama's Go template"
        )
    model = settings.model or str(default_model.safetensors_path())
    is_folder = Path(model).is_dir()
    if not is_folder and not _REPOSITORY.fullmatch(model):
        raise ValueError(
            f"--model {model}: there is no such folder, and it is not the id of a repository "
            "(like Qwen/Qwen3-8B)"
        )
    default_name = (
        (Path(model).resolve().name if is_folder else model) if settings.model else default_model.NAME
    )
    return SglangOptions(
        model=model,
        names=_names(settings, default_name),
        context_length=settings.context_length or None,
        slots=settings.slots,
        prefill_chunk_tokens=settings.prefill_chunk_tokens,
        kv_cache_tokens=settings.kv_cache_tokens,
        gpu_memory_part=settings.gpu_memory_part,
        queue_limit=settings.queue_limit,
        threads=settings.threads or spare_one_core(),
        chat_template=settings.chat_template if jinja else "",
        task=settings.task,
        overrides=model_overrides(settings),
        adapters=AdapterRoom(settings.max_adapters, settings.max_adapter_rank) if settings.adapters else None,
        flags=settings.sglang_flags,
        pinned=not settings.manifest and MEMORY_SAVER not in settings.sglang_flags,
    )


def _context_length(settings: WorkerSettings) -> int:
    return _CONTEXT_LENGTH if settings.context_length is None else settings.context_length


def model_overrides(settings: WorkerSettings) -> ModelOverrides:
    """Raises ValueError, with what to do, for a template that cannot be read."""
    return ModelOverrides(
        system=settings.system or _read(settings.system_file, "--system-file"),
        parameters=read_parameters(settings.parameters),
        go_template=_go_template(settings.chat_template),
    )


def _go_template(path: str) -> Template | None:
    if not _is_go(path):
        return None
    try:
        return parse(_read(path))
    except TemplateError as error:
        raise ValueError(f"--chat-template {path}: {error}") from error


def _jinja_template(path: str) -> str:
    return "" if _is_go(path) else _read(path)


def _is_go(path: str) -> bool:
    return Path(path).suffix in _GO_TEMPLATES


def _read(path: str, flag: str = "--chat-template") -> str:
    try:
        return Path(path).read_text(errors="replace") if path else ""
    except OSError as error:
        raise ValueError(f"{flag} {path}: {error.strerror}") from error


def _names(settings: WorkerSettings, default: str) -> list[str]:
    """The model's names in short form with tags, without duplicates."""
    names = [ModelName.parse(name) or ModelName.from_file_name(name) for name in settings.name or [default]]
    return list({name.key: name.short for name in names}.values())
