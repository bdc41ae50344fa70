"""What SGLang is estimated to take, and the limits that it gets."""

from __future__ import annotations

import pytest

from engine_worker.host.models.sglang_memory import adapter_room_bytes, estimate

GIB = 1 << 30
# 64 KiB for each token.
CONFIG = {
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 131_072,
}
TOKEN_BYTES = 64 << 10
# One for CUDA, and 12 for the steps of a GPU of this size.
GPU, OTHER_BYTES = 72 * GIB, 13 * GIB


@pytest.mark.parametrize(
    ("flags", "gpus", "tokens", "static_bytes"),
    [
        ([], 1, 131_072, 18 * GIB),
        (["--sglang-args=--tp 2"], 2, 131_072, 9 * GIB),
        (["--sglang-args", "--tensor-parallel-size=2 --pp-size 2"], 4, 131_072, 9 * GIB // 2),
        (["--sglang-args=--dp-size 2"], 2, 131_072, 18 * GIB),
        (["--sglang-args=--tp 4 --dp 4 --enable-dp-attention"], 4, 131_072, 9 * GIB // 2),
        (["--context-length", "65536"], 1, 65_536, 14 * GIB),
        (["--context-length", "2048"], 1, 32_768, 12 * GIB),
        (["--kv-cache-tokens", "16384"], 1, 16_384, 11 * GIB),
        (["--sglang-args=--max-total-tokens 16384"], 1, 16_384, 11 * GIB),
    ],
)
def test_weights_and_kv_cache_are_divided_among_the_gpus(
    flags: list[str], gpus: int, tokens: int, static_bytes: int
) -> None:
    memory = estimate(10 * GIB, CONFIG, flags, GPU)
    assert memory.flags == ["--kv-cache-tokens", str(tokens)]
    assert (memory.needs.gpus, memory.static_gpu_bytes) == (gpus, static_bytes)
    assert memory.needs.gpu_bytes == static_bytes + OTHER_BYTES
    assert memory.kv_bytes == tokens * TOKEN_BYTES


def test_the_kv_cache_is_as_large_as_there_is_room() -> None:
    memory = estimate(10 * GIB, CONFIG, [], 26 * GIB)
    assert memory.needs.gpu_bytes <= 26 * GIB
    assert int(memory.flags[1]) > 32_768


def test_a_smaller_step_takes_less() -> None:
    memory = estimate(10 * GIB, CONFIG, ["--sglang-args=--chunked-prefill-size 2048"], GPU)
    assert memory.needs.gpu_bytes == 18 * GIB + 4 * GIB


def test_weights_that_sleep_are_in_the_machines_memory() -> None:
    awake = estimate(10 * GIB, CONFIG, [], GPU)
    asleep = estimate(10 * GIB, CONFIG, ["--sglang-args=--enable-memory-saver"], GPU)
    assert asleep.needs.memory_bytes - awake.needs.memory_bytes == 10 * GIB


@pytest.mark.parametrize(
    ("flags", "gpu_bytes", "tokens", "factor"),
    [
        ([], 0, 32_768, 2),
        (["--sglang-args=--device cpu"], GPU, 32_768, 2),
        (["--kv-cache-tokens", "4096"], 0, 4096, 2),
        (["--sglang-args=--max-total-tokens 4096"], 0, 4096, 2),
        (["--sglang-args=--dtype bfloat16"], 0, 32_768, 1),
    ],
)
def test_without_a_gpu_all_is_in_the_machines_memory(
    flags: list[str], gpu_bytes: int, tokens: int, factor: int
) -> None:
    """In float32, unless a flag says otherwise: keys and values of four bytes."""
    memory = estimate(10 * GIB, CONFIG, flags, gpu_bytes)
    assert (memory.needs.gpus, memory.static_gpu_bytes, memory.flags) == (0, 0, ())
    assert memory.needs.memory_bytes == 10 * GIB + tokens * TOKEN_BYTES * factor + 2 * GIB


def test_float32_on_a_gpu_takes_twice_the_kv_cache() -> None:
    flags = ["--sglang-args=--dtype float32", "--kv-cache-tokens", "32768"]
    assert estimate(10 * GIB, CONFIG, flags, GPU).kv_bytes == 2 * 32_768 * TOKEN_BYTES


def test_keys_and_values_that_cannot_be_divided_are_on_each_gpu() -> None:
    """One KV head, or latent vectors: 64 KiB for each token here."""
    latent = {**CONFIG, "kv_lora_rank": 1984, "qk_rope_head_dim": 64}
    one_head = {**CONFIG, "num_key_value_heads": 1, "head_dim": 1024}
    for config in (latent, one_head):
        memory = estimate(10 * GIB, config, ["--sglang-args=--tp 2"], GPU)
        assert memory.static_gpu_bytes == 5 * GIB + 8 * GIB


def test_room_for_adapters_is_that_of_their_matrices() -> None:
    """Of Llama 3 8B: 320 MiB for one of rank 64."""
    config = {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    }
    assert adapter_room_bytes(config, ["--sglang-args=--max-loras-per-batch 1"], GPU) == 320 << 20
    assert adapter_room_bytes(config, ["--max-adapter-rank", "16"], GPU) == 8 * (80 << 20)
    assert adapter_room_bytes(config, ["--max-adapter-rank", "16"], 0) == 2 * 8 * (80 << 20)
