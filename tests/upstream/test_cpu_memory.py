"""What a host counts for SGLang on a CPU, and how it is started there."""

from __future__ import annotations

import torch
from sglang.srt.model_executor.model_runner import kv_cache_dtype

from engine_worker.engines import sglang_options
from engine_worker.engines.sglang.upstream.arguments import _cpu_flags
from engine_worker.host.models.sglang_memory import is_float32
from engine_worker.settings import WorkerSettings


def test_it_computes_in_float32_as_the_host_counts() -> None:
    flags = _cpu_flags(sglang_options(WorkerSettings(engine="sglang", model="org/model")))
    assert flags[flags.index("--dtype") + 1] == "float32"
    assert is_float32([], gpu_bytes=0)


def test_keys_and_values_have_the_type_of_the_weights() -> None:
    """Unless --kv-cache-dtype says otherwise."""
    _, dtype = kv_cache_dtype.configure_kv_cache_dtype(
        server_args_kv_cache_dtype="auto",
        model=None,
        model_dtype=torch.float32,
        is_draft_worker=False,
        is_dflash=False,
        speculative_draft_attention_backend=None,
        speculative_draft_kv_cache_dtype=None,
    )
    assert dtype == torch.float32
