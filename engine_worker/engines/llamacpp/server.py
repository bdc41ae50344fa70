"""The llama.cpp server inside this process.

xllamacpp opens llama-server's HTTP listener on loopback; Drover talks to that, because only its native routes
carry token ids, the matched stop text and slot numbers (DECISIONS.md, "llama.cpp over loopback"). Answers
with thinking or tool calls come from its chat route, where llama.cpp parses them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import xllamacpp

from engine_worker.engines.llamacpp.options import LlamacppOptions

# Requests whose template and tokens are being made at the same time.
PREPARATIONS = 4
# For slot states and tokenising in mid-stream.
_CONTROL_THREADS = 4
_QUIET = -1
_POOLING_UNSPECIFIED_BY_MODEL = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN


@dataclass(slots=True)
class LlamaServer:
    """Dropping the last reference to `handle` stops the server and frees the model."""

    handle: xllamacpp.Server
    url: str
    api_key: str


def start_server(options: LlamacppOptions, slot_context: int, pooling_known: bool) -> LlamaServer:
    """Loads the model; blocks for seconds. Raises RuntimeError when llama.cpp cannot load it."""
    api_key = secrets.token_hex(16)
    handle = xllamacpp.Server(_parameters(options, slot_context, pooling_known, api_key))
    return LlamaServer(handle, handle.listening_address, api_key)


def _parameters(
    options: LlamacppOptions, slot_context: int, pooling_known: bool, api_key: str
) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.model_path)
    parameters.n_parallel = options.slots
    parameters.n_ctx = slot_context * options.slots
    parameters.n_gpu_layers = options.gpu_layers
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    # Small steps: a cancelled request leaves only at a step's end, and a long prefill must not stall decodes.
    step_tokens = slot_context if options.embed else options.prefill_chunk_tokens + options.slots
    parameters.n_batch = parameters.n_ubatch = step_tokens
    parameters.use_jinja = True
    parameters.chat_template = options.chat_template
    parameters.ctx_shift = False
    parameters.cache_ram_mib = 0  # its default is 8 GiB beside the slots' own prefix caches
    parameters.endpoint_slots = True
    parameters.ui = False
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [api_key]
    # One HTTP thread for each stream, and others beside them.
    parameters.n_threads_http = options.slots + PREPARATIONS + _CONTROL_THREADS
    parameters.verbosity = _QUIET
    if options.embed:
        parameters.embedding = True
        # With a KV cache per slot, llama.cpp splits texts of different lengths over several micro-batches and
        # pools only the last part of the longer ones.
        parameters.kv_unified = True
        if not pooling_known:
            parameters.pooling_type = _POOLING_UNSPECIFIED_BY_MODEL
    return parameters
