"""Progress reported during a long prefill: llama.cpp with the real model."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.engine_client import engine_client
from tests.support.processes import worker

pytestmark = pytest.mark.real_model


async def test_prefill_counts_as_progress(tmp_path: Path) -> None:
    with worker(tmp_path / "worker.log", "--engine", "llamacpp", "--context-length", "2048") as process:
        async with engine_client(process.address) as engine:
            before = await engine.load()
            prompt = pb.GenerateRequest(raw="word " * 1000, sampling=pb.Sampling(max_tokens=1))
            call = engine.generate(prompt)
            counts = [before.prefill_tokens_done]
            while (report := await engine.load()).decode_tokens_done == before.decode_tokens_done:
                counts.append(report.prefill_tokens_done)
            events = [event async for event in call]
            computed = (await engine.load()).prefill_tokens_done - before.prefill_tokens_done

    done = events[-1].done
    assert counts == sorted(counts)
    assert len(set(counts)) > 5
    assert computed == done.prompt_tokens - done.cached_tokens
