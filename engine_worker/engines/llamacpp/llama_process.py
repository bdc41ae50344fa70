"""The llama.cpp child process, run by its path.

It reads LlamaParameters as one line of JSON from stdin, loads the model, writes one line of JSON with the
server's `url` or an `error` to stdout, and runs until stdin is closed or its parent dies. It imports nothing
of Drover, so that it starts fast and stays small.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from dataclasses import dataclass

_QUIET = -1
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class LlamaParameters:
    """`slot_context`: tokens per slot. `pooling`: llama.cpp's name of the pooling of whole texts; empty: the
    model's own. `whole_cache`: the KV cache of layers with sliding windows holds all tokens, so that prefixes
    can be shared. `adapters`: paths of LoRA files; requests name them by their place in this list.
    """

    model_path: str
    slots: int
    slot_context: int
    threads: int
    step_tokens: int
    gpu_layers: int
    chat_template: str
    http_threads: int
    api_key: str
    embed: bool
    pooling: str
    whole_cache: bool
    adapters: list[str]


def main() -> None:
    # llama.cpp prints to stdout, which carries the answer: send its output to stderr.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        # A signal to the process group is for the worker, which ends this process once it has drained.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        _die_with_parent()
        parameters = LlamaParameters(**json.loads(sys.stdin.readline()))
        try:
            url, _handle = _serve(parameters)
        except (RuntimeError, ValueError, OSError) as error:
            print(json.dumps({"error": str(error)}), file=answer, flush=True)
            return
        print(json.dumps({"url": url}), file=answer, flush=True)
        sys.stdin.read()
    # Freeing the model would wait for the current step.
    os._exit(0)


def _serve(parameters: LlamaParameters) -> tuple[str, object]:
    """The URL, and a handle that keeps the server running. Raises RuntimeError if the model
    cannot be loaded.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = parameters.model_path
    params.n_parallel = parameters.slots
    params.n_ctx = parameters.slot_context * parameters.slots
    params.n_gpu_layers = parameters.gpu_layers
    params.cpuparams.n_threads = parameters.threads
    params.cpuparams_batch.n_threads = parameters.threads
    params.n_batch = params.n_ubatch = parameters.step_tokens
    params.use_jinja = True
    params.chat_template = parameters.chat_template
    params.ctx_shift = False
    params.swa_full = parameters.whole_cache
    params.cache_ram_mib = 0  # default: 8 GiB in addition to the slots' prefix caches
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.ui = False
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [parameters.api_key]
    params.n_threads_http = parameters.http_threads
    params.verbosity = _QUIET
    # A request that names no adapter gets the model without one.
    params.lora_init_without_apply = True
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in parameters.adapters]
    if parameters.embed:
        params.embedding = True
        # With a KV cache per slot, llama.cpp splits texts of different lengths over micro-batches and pools
        # only the last part of the longer ones.
        params.kv_unified = True
        if parameters.pooling:
            kinds = xllamacpp.llama_pooling_type
            params.pooling_type = getattr(kinds, f"LLAMA_POOLING_TYPE_{parameters.pooling}")
    handle = xllamacpp.Server(params)
    return handle.listening_address, handle


def _die_with_parent() -> None:
    """Covers a parent killed during a load, while stdin is not read."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
