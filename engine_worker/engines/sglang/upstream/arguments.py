"""Translate Drover's options to SGLang's ServerArgs, by SGLang's own command line flags."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from sglang.srt.server_args import ServerArgs
from transformers import PretrainedConfig

from engine_worker.engines.sglang.adapter_files import ADAPTED
from engine_worker.engines.sglang.options import MEMORY_SAVER, SglangOptions
from engine_worker.engines.sglang.upstream.classifier import is_encoder, most_tokens
from engine_worker.engines.sglang.upstream.tracing import endpoint_flags

# Flags that Drover sets itself, with the setting for them.
_RESERVED = {
    "--model-path": "--model",
    "--model": "--model",
    "--is-embedding": "--task",
    "--skip-tokenizer-init": "a worker that can tokenise",
}
# Tokens of the context that SGLang does not allow a prompt.
RESERVED_TOKENS = 7
# Small models that may write any white space between two tokens of JSON seldom stop.
_MAX_JSON_WHITESPACE = "20"
# Share of the host's memory for weights and KV cache; other processes need memory too.
_CPU_MEMORY_SHARE = "0.2"
_CPU_SLOTS = 8
# A prefill step's length bounds how soon a cancelled request is gone.
_CPU_PREFILL_CHUNK = 128
# Seconds that one step may take before SGLang gives itself up; a busy CPU is slow and has not stalled.
_CPU_STEP_SECONDS = "3600"


def server_args(options: SglangOptions, on_cpu: bool) -> ServerArgs:
    """Raises ValueError, for the operator, for a flag that SGLang does not know, that Drover sets, or that
    needs a GPU where there is none.
    """
    for flag in options.flags:
        name = flag.partition("=")[0]
        if name in _RESERVED:
            raise ValueError(f"{name} cannot be passed to SGLang: Drover has {_RESERVED[name]} for it")
    if on_cpu and options.sleeps:
        raise ValueError(f"{MEMORY_SAVER} frees the memory of a GPU, and this machine has none")
    parser = _Parser(prog="sglang", allow_abbrev=False)
    ServerArgs.add_cli_args(parser)
    # The last of repeated flags counts, so that the operator's choice wins.
    machine = _cpu_flags(options) if on_cpu else _gpu_flags(options)
    adapters = _adapter_flags(options, on_cpu)
    spans = endpoint_flags(options.flags, os.environ)
    wanted = [*_flags(options), *machine, *_encoder_flags(options), *adapters, *spans, *options.flags]
    return ServerArgs.from_cli_args(parser.parse_args(wanted))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"SGLang does not accept its flags: {message}")


def _flags(options: SglangOptions) -> list[str]:
    flags = [
        "--model-path",
        options.model,
        "--incremental-streaming-output",
        # Required for the times of a request's phases.
        "--enable-metrics",
        "--tool-call-parser",
        "auto",
        "--reasoning-parser",
        "auto",
        "--constrained-json-max-whitespace-cnt",
        _MAX_JSON_WHITESPACE,
        "--log-level",
        "warning",
    ]
    flags += _if_set("--context-length", _context_length(options))
    flags += _if_set("--max-total-tokens", options.kv_cache_tokens)
    flags += _if_set("--chat-template", options.chat_template or None)
    return flags if options.generates else [*flags, "--is-embedding"]


def _adapter_flags(options: SglangOptions, on_cpu: bool) -> Sequence[str]:
    """Adapters come later, so SGLang needs their largest rank and their weights at the start."""
    if options.adapters is None or options.task != "generate":
        return ()
    flags = ["--enable-lora", "--max-lora-rank", str(options.adapters.rank)]
    # The other backends are kernels for accelerators.
    flags += ["--lora-backend", "torch_native"] if on_cpu else []
    return [*flags, "--lora-target-modules", *ADAPTED]


def _context_length(options: SglangOptions) -> int | None:
    """A text that is only prefilled needs no room for an answer, and SGLang keeps some in any case."""
    if options.context_length is None or options.generates:
        return options.context_length
    return options.context_length + RESERVED_TOKENS


def _encoder_flags(options: SglangOptions) -> Sequence[str]:
    """Tokens of an encoder see those that follow: their keys and values are of no use to another text, nor
    while a part of the text is missing. And it has no position beyond its own context.
    """
    if options.generates:
        return ()
    config, _ = PretrainedConfig.get_config_dict(options.model)
    if not is_encoder(config):
        return ()
    flags = ["--disable-radix-cache", "--chunked-prefill-size", "-1"]
    lengths = [length for length in (options.context_length, most_tokens(config)) if length is not None]
    return [*flags, "--context-length", str(min(lengths) + RESERVED_TOKENS)] if lengths else flags


def _cpu_flags(options: SglangOptions) -> list[str]:
    return [
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--mem-fraction-static",
        _CPU_MEMORY_SHARE,
        "--max-running-requests",
        str(options.slots or _CPU_SLOTS),
        "--chunked-prefill-size",
        str(options.prefill_chunk_tokens or _CPU_PREFILL_CHUNK),
        "--watchdog-timeout",
        _CPU_STEP_SECONDS,
        "--load-snapshot-publish-interval",
        "1",
        # Otherwise an idle scheduler keeps a core busy.
        "--sleep-on-idle",
    ]


def _gpu_flags(options: SglangOptions) -> list[str]:
    return [
        *_if_set("--max-running-requests", options.slots),
        *_if_set("--chunked-prefill-size", options.prefill_chunk_tokens),
        *_if_set("--mem-fraction-static", options.gpu_memory_part),
    ]


def _if_set(flag: str, value: object | None) -> Sequence[str]:
    return () if value is None else (flag, str(value))
