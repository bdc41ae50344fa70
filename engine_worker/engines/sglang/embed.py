"""Embeddings with SGLang: an engine that was started for them does nothing else."""

from __future__ import annotations

import secrets

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.embedding import embed_texts
from engine_worker.engines.sglang.prompt import Limits, Prompts
from engine_worker.engines.sglang.upstream.process import EngineProcess


class Embedder:
    """`at_once`: texts of one request that SGLang has at the same time; it batches them with all others."""

    def __init__(self, process: EngineProcess, prompts: Prompts, limits: Limits, at_once: int) -> None:
        self._process = process
        self._prompts = prompts
        self._limits = limits
        self._at_once = at_once

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        return await embed_texts(
            request,
            self._prompts.encode,
            self._embed,
            self._at_once,
            self._limits.context_length,
        )

    async def _embed(self, ids: list[int]) -> list[float]:
        return await self._process.embed(secrets.token_hex(16), ids)
