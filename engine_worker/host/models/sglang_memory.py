"""What SGLang will take for a model, on a CPU or on GPUs, and the flags that keep it to that."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine_worker.engines.sglang.model_config import integer
from engine_worker.engines.sglang.options import MEMORY_SAVER
from engine_worker.host.models.base import Needs
from engine_worker.host.models.layers import value_of
from engine_worker.settings import WorkerSettings

# PyTorch, the tokenizer and SGLang's processes, in the machine's memory.
_PROCESS_BYTES = 2 << 30
# Tokens of the KV cache, unless the model's context is longer and there is room for it.
_KV_TOKENS = 32_768
# Of a value of keys, values and adapters, which SGLang keeps in the type of the weights.
_VALUE_BYTES, _FLOAT32_BYTES = 2, 4
_FLOAT32 = ("float32", "float")
_ADAPTERS_AT_ONCE = 8
_ADAPTER_RANK: int = WorkerSettings.model_fields["max_adapter_rank"].default
# Of a GPU: CUDA and its libraries, and what SGLang reserves for each token of a prefill step.
_GPU_BYTES, _STEP_TOKEN_BYTES = 1 << 30, 1536 * 1024
# Tokens of a step by default, on GPUs of less than so many bytes.
_STEPS = ((20 << 30, 2048), (60 << 30, 4096), (160 << 30, 8192))
_LARGEST_STEP = 16_384
_TENSORS = ("--tp", "--tp-size", "--tensor-parallel-size")
_PIPELINE = ("--pp", "--pp-size", "--pipeline-parallel-size")
_DATA = ("--dp", "--dp-size", "--data-parallel-size")


@dataclass(frozen=True, slots=True)
class SglangMemory:
    """`static_gpu_bytes`: weights and KV cache, of each GPU. `flags`: of the worker."""

    needs: Needs
    kv_bytes: int
    static_gpu_bytes: int = 0
    flags: Sequence[str] = ()


def is_float32(flags: Sequence[str], gpu_bytes: int) -> bool:
    """Whether SGLang computes in float32, as on a CPU, where values of two bytes take four."""
    sglang = shlex.split(value_of(flags, "--sglang-args"))
    dtype = value_of(sglang, "--dtype")
    return dtype in _FLOAT32 if dtype else _is_on_cpu(sglang, gpu_bytes)


def estimate(
    weight_bytes: int, config: Mapping[str, object], flags: Sequence[str], gpu_bytes: int
) -> SglangMemory:
    """`weight_bytes`: of the type that SGLang computes in. `flags`: of the worker. `gpu_bytes`: what models
    may take of a GPU; 0 for a machine without one. Raises ValueError for flags that cannot be read.
    """
    sglang = shlex.split(value_of(flags, "--sglang-args"))
    token_bytes = _token_values(config) * _value_bytes(flags, gpu_bytes)
    tokens = _number(sglang, "--max-total-tokens") or _number(flags, "--kv-cache-tokens")
    if _is_on_cpu(sglang, gpu_bytes):
        kv_bytes = (tokens or _KV_TOKENS) * token_bytes
        return SglangMemory(Needs(weight_bytes + kv_bytes + _PROCESS_BYTES), kv_bytes)
    copies = 1 if "--enable-dp-attention" in sglang else _number(sglang, *_DATA) or 1
    tensors, pipeline = _number(sglang, *_TENSORS) or 1, _number(sglang, *_PIPELINE) or 1
    # The GPUs among which one copy of the weights is divided, and of the KV cache.
    parts, kv_parts = tensors * pipeline, min(tensors, _kv_heads(config)) * pipeline
    step_tokens = _number(sglang, "--chunked-prefill-size") or _number(flags, "--prefill-chunk-tokens")
    other_bytes = _GPU_BYTES + (step_tokens or _default_step(gpu_bytes)) * _STEP_TOKEN_BYTES
    if not tokens:
        context = _number(flags, "--context-length") or integer(config, "max_position_embeddings")
        room_bytes = (gpu_bytes - other_bytes - weight_bytes // parts) * kv_parts
        tokens = max(_KV_TOKENS, min(context, room_bytes // max(1, token_bytes)))
    kv_bytes = tokens * token_bytes
    static_bytes = weight_bytes // parts + kv_bytes // kv_parts
    # Weights that sleep are kept in the machine's memory.
    ram_bytes = _PROCESS_BYTES * parts * copies + (weight_bytes if MEMORY_SAVER in sglang else 0)
    needs = Needs(ram_bytes, parts * copies, static_bytes + other_bytes)
    return SglangMemory(needs, kv_bytes, static_bytes, ["--kv-cache-tokens", str(tokens)])


def adapter_room_bytes(config: Mapping[str, object], flags: Sequence[str], gpu_bytes: int) -> int:
    """What SGLang keeps from the start for the adapters of a step: two matrices of the largest rank for each
    weight of attention and MLP.
    """
    at_once = (
        _number(shlex.split(value_of(flags, "--sglang-args")), "--max-loras-per-batch") or _ADAPTERS_AT_ONCE
    )
    rank = _number(flags, "--max-adapter-rank") or _ADAPTER_RANK
    hidden, inner = integer(config, "hidden_size"), integer(config, "intermediate_size")
    heads = max(1, integer(config, "num_attention_heads"))
    head_length = integer(config, "head_dim") or hidden // heads
    queries, keys = heads * head_length, _kv_heads(config) * head_length
    # q, k, v; o; gate, up; down.
    inputs = 3 * hidden + queries + 2 * hidden + inner
    outputs = queries + 2 * keys + hidden + 2 * inner + hidden
    values = at_once * rank * integer(config, "num_hidden_layers") * (inputs + outputs)
    return values * _value_bytes(flags, gpu_bytes)


def _is_on_cpu(sglang: Sequence[str], gpu_bytes: int) -> bool:
    """Its worker is shown no GPU then."""
    return not gpu_bytes or value_of(sglang, "--device") == "cpu"


def _value_bytes(flags: Sequence[str], gpu_bytes: int) -> int:
    return _FLOAT32_BYTES if is_float32(flags, gpu_bytes) else _VALUE_BYTES


def _number(flags: Sequence[str], *names: str) -> int:
    return int(next((value for name in names if (value := value_of(flags, name))), "0"))


def _default_step(gpu_bytes: int) -> int:
    return next((tokens for limit, tokens in _STEPS if gpu_bytes < limit), _LARGEST_STEP)


def _token_values(config: Mapping[str, object]) -> int:
    """How many numbers its keys and values are."""
    layers = integer(config, "num_hidden_layers")
    if latent := integer(config, "kv_lora_rank"):
        return layers * (latent + integer(config, "qk_rope_head_dim"))
    heads = max(1, integer(config, "num_attention_heads"))
    head_length = integer(config, "head_dim") or integer(config, "hidden_size") // heads
    return layers * _kv_heads(config) * head_length * 2


def _kv_heads(config: Mapping[str, object]) -> int:
    """Among how many GPUs keys and values can be divided; latent ones (DeepSeek) are whole on each."""
    if integer(config, "kv_lora_rank"):
        return 1
    return integer(config, "num_key_value_heads") or max(1, integer(config, "num_attention_heads"))
