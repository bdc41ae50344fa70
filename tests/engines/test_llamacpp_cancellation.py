"""Cancelling chats that llama.cpp parses, with the real model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.chat_requests import chat_with, tool
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import worker
from tests.support.scripted_gguf import THINKING_AND_TOOLS
from tests.support.waiting import until

pytestmark = pytest.mark.real_model


@pytest.fixture
async def slow_engine(tmp_path: Path) -> AsyncIterator[EngineClient]:
    """SmolLM2, which takes its time, with a template that has tools and thinking."""
    template = tmp_path / "template.jinja"
    template.write_text(THINKING_AND_TOOLS)
    flags = ("--context-length", "512", "--slots", "2", "--chat-template", str(template))
    with worker(tmp_path / "worker.log", "--engine", "llamacpp", *flags) as process:
        async with engine_client(process.address) as client:
            yield client


async def _is_waiting(engine: EngineClient, count: int) -> bool:
    return (await engine.load()).waiting == count


async def test_cancelling_frees_the_slot_in_every_phase(slow_engine: EngineClient) -> None:
    assert (await slow_engine.stub.GetModel(pb.GetModelRequest())).capabilities.tools
    calls = [slow_engine.generate(chat_with(tool("get_weather"), ignore_eos=True)) for _ in range(2)]
    for call in calls:
        await call.read()
    load = await slow_engine.load()
    assert load.running == 2
    assert load.kv_tokens_used > 0
    queued = slow_engine.generate(chat_with(tool("get_weather")))
    await until(lambda: _is_waiting(slow_engine, 1), 5, "a third one waits")
    queued.cancel()
    await until(lambda: _is_waiting(slow_engine, 0), 1, "it waits no more")
    assert (await slow_engine.load()).running == 2
    for call in calls:
        call.cancel()
    assert await until(slow_engine.idle, 5, "all slots are free") < 0.5
    in_prefill = slow_engine.generate(chat_with(tool("get_weather"), content="word " * 300))
    await until(slow_engine.busy, 5, "a slot is taken")
    in_prefill.cancel()
    assert await until(slow_engine.idle, 5, "the slot is free") < 1
