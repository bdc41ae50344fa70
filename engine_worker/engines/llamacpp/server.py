"""The llama.cpp server beside this process: a child, which ends with it.

xllamacpp opens llama-server's HTTP listener on loopback; Drover talks to that, because only its native routes
carry token ids, the matched stop text and slot numbers (docs/adr/0003). Answers
with thinking or tool calls come from its chat route, where llama.cpp parses them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from drover import logs
from engine_worker.engines.llamacpp import llama_process
from engine_worker.engines.llamacpp.gguf import GgufFile
from engine_worker.engines.llamacpp.llama_process import LlamaParameters
from engine_worker.engines.llamacpp.options import LlamacppOptions

# Requests whose template and tokens are being made at the same time.
PREPARATIONS = 4
# For slot states and tokenising in mid-stream.
_CONTROL_THREADS = 4
_SCRIPT = Path(llama_process.__file__)
_MIB = 1 << 20
_log = logging.getLogger("drover.worker")
# How often a thread of ggml polls a barrier before it sleeps. libgomp's default of 300,000 is milliseconds
# of spinning: with a thread on each core, any other process stalls all of them (docs/adr/0005).
_BARRIER_SPINS = {"GOMP_SPINCOUNT": "1000"}
_OPERATORS_CHOICE = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


class LlamaServer:
    def __init__(self, process: Process, url: str, api_key: str) -> None:
        self._process = process
        self.url = url
        self.api_key = api_key

    async def wait_ended(self) -> str:
        """Says how, for the log."""
        return _how(await self._process.wait())

    async def end(self) -> None:
        """Whatever it is doing. Returns when its memory is free."""
        await _kill(self._process)


async def start_server(options: LlamacppOptions, slot_context: int, file: GgufFile) -> LlamaServer:
    """Loads the model; cancelling ends it. Raises RuntimeError when llama.cpp cannot load it."""
    parameters = _parameters(options, slot_context, file)
    # A session of its own: Ctrl-C on a terminal is for the worker.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(_SCRIPT),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
        env=llama_environment(os.environ),
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(parameters)).encode() + b"\n")
        with suppress(ConnectionError):
            await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"llama.cpp ended while it loaded the model ({_how(await process.wait())})")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"llama.cpp could not load {options.model_path}: {answer['error']}")
        return LlamaServer(process, answer["url"], parameters.api_key)
    except BaseException:
        await _kill(process)
        raise


def llama_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment, and a short spin at barriers unless the operator has set OpenMP's waiting."""
    chosen = any(name in environment for name in _OPERATORS_CHOICE)
    return {**environment, **({} if chosen else _BARRIER_SPINS)}


async def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _parameters(options: LlamacppOptions, slot_context: int, file: GgufFile) -> LlamaParameters:
    return LlamaParameters(
        model_path=str(options.model_path),
        slots=options.slots,
        slot_context=slot_context,
        threads=options.threads,
        # Small steps: a cancelled request leaves only at a step's end, and a long prefill must not stall
        # decodes.
        step_tokens=slot_context if options.embed else options.prefill_chunk_tokens + options.slots,
        gpu_layers=options.gpu_layers,
        chat_template=options.chat_template,
        # One HTTP thread for each stream, and others beside them.
        http_threads=options.slots + PREPARATIONS + _CONTROL_THREADS,
        api_key=secrets.token_hex(16),
        embed=options.embed,
        mean_pooling=not file.pooling_known,
        whole_cache=not options.embed
        and file.has_sliding_windows
        and _may_be_whole(options, slot_context, file),
    )


def _may_be_whole(options: LlamacppOptions, slot_context: int, file: GgufFile) -> bool:
    """Logs what the KV cache of a model with sliding windows costs, and what was chosen."""
    whole_bytes = file.kv_bytes(slot_context * options.slots)
    is_whole = whole_bytes <= options.sliding_window_cache_bytes
    logs.event(
        _log,
        logging.INFO if is_whole else logging.WARNING,
        "sliding windows: the KV cache is kept whole and requests share prefixes"
        if is_whole
        else "sliding windows: the KV cache holds the windows only and every prompt is computed anew; "
        "--sliding-window-cache-mib allows more",
        whole_cache_mib=math.ceil(whole_bytes / _MIB),
        allowed_mib=options.sliding_window_cache_bytes // _MIB,
    )
    return is_whole
