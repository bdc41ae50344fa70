"""The llama.cpp child process: starting it, its environment, and what lives and ends with it.

xllamacpp opens llama-server's HTTP listener on loopback. Drover uses that listener because only its native
endpoints report token ids, the matched stop text and slot numbers (docs/adr/0003). Answers with thinking or
tool calls come from its chat endpoint, where llama.cpp parses them.
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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from drover import logs
from engine_worker.engines.llamacpp import llama_process
from engine_worker.engines.llamacpp.api import PREPARATIONS, LlamaApi
from engine_worker.engines.llamacpp.gguf import GgufFile
from engine_worker.engines.llamacpp.llama_process import LlamaParameters
from engine_worker.engines.llamacpp.options import LlamacppOptions
from engine_worker.engines.llamacpp.slots import HeldSlots
from engine_worker.engines.slots import Slots

# HTTP threads for slot states, and for tokenising answers.
_CONTROL_THREADS = 4
_SCRIPT = Path(llama_process.__file__)
_MIB = 1 << 20
# Seconds to wait for the exit status of a process whose requests fail.
_EXIT_STATUS_SECONDS = 1.0
_log = logging.getLogger("drover.worker")
# Polls of a barrier before a thread of ggml sleeps. libgomp's default of 300,000 spins for milliseconds, so
# that with one thread per core any other process delays all of them (docs/adr/0005).
_BARRIER_SPINS = {"GOMP_SPINCOUNT": "1000"}
_OPENMP_WAIT_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


class LlamaServer:
    """The running child process and the address of its HTTP listener."""

    def __init__(self, process: Process, url: str, api_key: str) -> None:
        self._process = process
        self.url = url
        self.api_key = api_key

    async def wait_ended(self) -> str:
        """Wait for the process to end; returns its exit status or signal in words."""
        return _how(await self._process.wait())

    async def end(self) -> None:
        """Kill the process. Returns when its memory is free."""
        await _kill(self._process)


async def start_server(
    options: LlamacppOptions, slot_context: int, file: GgufFile, adapters: Sequence[Path] = ()
) -> LlamaServer:
    """Start llama.cpp and load the model and the adapters; cancelling kills the process.

    Raises RuntimeError if one of them cannot be loaded.
    """
    parameters = _parameters(options, slot_context, file, adapters)
    # A new session, so that Ctrl-C on a terminal reaches the worker only.
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
            raise RuntimeError(f"llama.cpp exited while it loaded the model ({_how(await process.wait())})")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"llama.cpp could not load {options.model_path}: {answer['error']}")
        return LlamaServer(process, answer["url"], parameters.api_key)
    except BaseException:
        await _kill(process)
        raise


def llama_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment, with short barrier spins unless it sets OpenMP's wait policy."""
    chosen = any(name in environment for name in _OPENMP_WAIT_VARIABLES)
    return {**environment, **({} if chosen else _BARRIER_SPINS)}


async def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _parameters(
    options: LlamacppOptions, slot_context: int, file: GgufFile, adapters: Sequence[Path]
) -> LlamaParameters:
    return LlamaParameters(
        model_path=str(options.model_path),
        slots=options.slots,
        slot_context=slot_context,
        threads=options.threads,
        # Small steps: a cancelled request frees its slot at the end of a step, and a long prefill must not
        # stall decodes.
        step_tokens=options.prefill_chunk_tokens + options.slots if options.generates else slot_context,
        gpu_layers=options.gpu_layers,
        chat_template=options.chat_template,
        # One HTTP thread per stream, plus those of short requests.
        http_threads=options.slots + PREPARATIONS + _CONTROL_THREADS,
        api_key=secrets.token_hex(16),
        embed=not options.generates,
        pooling=_pooling(options, file),
        whole_cache=options.generates
        and file.has_sliding_windows
        and _keeps_whole_cache(options, slot_context, file),
        adapters=[str(path) for path in adapters],
    )


def _pooling(options: LlamacppOptions, file: GgufFile) -> str:
    """The pooling to use in place of that of the model's metadata; empty for that one."""
    if options.task in ("rerank", "classify"):
        return "RANK"
    return "" if file.pooling_known else "MEAN"


def _keeps_whole_cache(options: LlamacppOptions, slot_context: int, file: GgufFile) -> bool:
    """Whether the full KV cache of a model with sliding windows is within the allowed size.
    Logs the choice.
    """
    whole_bytes = file.kv_bytes(slot_context * options.slots)
    is_whole = whole_bytes <= options.sliding_window_cache_bytes
    logs.event(
        _log,
        logging.INFO if is_whole else logging.WARNING,
        "sliding windows: full KV cache, requests share prefixes"
        if is_whole
        else "sliding windows: KV cache holds the windows only, prompts share no prefixes; "
        "raise --sliding-window-cache-mib to keep all of it",
        whole_cache_mib=math.ceil(whole_bytes / _MIB),
        allowed_mib=options.sliding_window_cache_bytes // _MIB,
    )
    return is_whole


class LoadedModel:
    """The model in memory: llama.cpp's process, its HTTP client and its slots.

    `on_failure` is called with a reason if llama.cpp ends by itself or does not free a slot.
    """

    def __init__(
        self, server: LlamaServer, options: LlamacppOptions, on_failure: Callable[[str], None]
    ) -> None:
        self._server = server
        self._on_failure = on_failure
        self._watch = asyncio.create_task(self._watch_process(), name="watch llama.cpp")
        self._explanations: set[asyncio.Task[None]] = set()
        self.api = LlamaApi(server.url, server.api_key)
        # An embedding request may wait for as many slots as it has texts, up to all of them.
        queue_limit = (options.slots + options.queue_limit) * options.slots
        self.slots = HeldSlots(Slots(options.slots, queue_limit), self.api, self._slot_failed)

    async def end(self, deadline_seconds: float) -> None:
        """Kill the process and free the memory. Reports a failure after `deadline_seconds`."""
        for task in (self._watch, *self._explanations):
            task.cancel()
        self.slots.close()
        await self.api.close()
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._server.end()
        except TimeoutError:
            self._on_failure(f"llama.cpp did not end within {deadline_seconds:.0f} s")

    async def _watch_process(self) -> None:
        self._on_failure(f"llama.cpp exited unexpectedly ({await self._server.wait_ended()})")

    def _slot_failed(self, reason: str) -> None:
        self._explanations.add(asyncio.create_task(self._explain(reason), name="explain slot failure"))

    async def _explain(self, reason: str) -> None:
        """Report the exit of the process instead, if that is why the slot failed: its requests fail first."""
        await asyncio.wait({self._watch}, timeout=_EXIT_STATUS_SECONDS)
        self._on_failure(reason)
