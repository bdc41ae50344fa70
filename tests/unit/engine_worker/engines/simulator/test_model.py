from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.base import Engine
from engine_worker.engines.simulator import SimulatorConfig, SimulatorEngine
from tests.unit.engine_worker.engines.simulator import virtual_time
from tests.unit.engine_worker.engines.simulator.harness import FAST, answer, before_deadline


def test_the_simulator_implements_engine() -> None:
    engine: Engine = SimulatorEngine(["sim"], FAST)
    assert engine.model().engine_kind == "simulator"


def test_the_model_is_described() -> None:
    model = SimulatorEngine(["sim:latest", "alias:1b"], SimulatorConfig(context_length=4096)).model()
    assert list(model.names) == ["sim:latest", "alias:1b"]
    assert (model.context_length, model.trained_context_length) == (4096, 4096)
    assert (model.format, model.family, list(model.families)) == ("simulator", "simulator", ["simulator"])
    assert (model.parameter_size, model.parameter_count, model.engine_version) == ("0", 0, "1")
    assert not model.pinned
    assert "not a model but a simulator" in model.licenses[0]
    assert model.capabilities == pb.Capabilities(
        completion=True, logprobs=True, seed=True, resume=True, go_template=True, go_template_parsed=True
    )
    info = json.loads(model.model_info_json)
    assert info["general.architecture"] == "simulator"
    assert info["general.parameter_count"] == 0
    assert info["simulator.context_length"] == 4096
    assert info["simulator.embedding_length"] == 64


async def started_digest(config: SimulatorConfig) -> str:
    engine = SimulatorEngine(["sim"], config)
    await engine.start()
    await before_deadline(engine.stop())
    return engine.model().digest


async def test_the_digest_depends_on_config_and_script_content(tmp_path: Path) -> None:
    def script(name: str, text: str) -> SimulatorConfig:
        path = tmp_path / name
        path.write_text(json.dumps([{"match": "", "events": [{"text": text}]}]))
        return replace(FAST, script_path=path)

    plain, other = await started_digest(FAST), await started_digest(replace(FAST, seed=1))
    one = await started_digest(script("one.json", "a"))
    same_elsewhere = await started_digest(script("two.json", "a"))
    changed = await started_digest(script("one.json", "b"))
    assert re.fullmatch("[0-9a-f]{64}", plain)
    assert one == same_elsewhere
    assert len({plain, other, one, changed}) == 4


def test_loading_takes_time_and_unloading_empties_the_prefix_cache() -> None:
    async def visit() -> tuple[list[int], float]:
        engine = SimulatorEngine(["sim"], replace(FAST, load_ms=250))
        await engine.start()
        request = pb.GenerateRequest(raw="one two three " * 20, sampling=pb.Sampling(temperature=0))
        cached = [(await answer(engine, request)).done.cached_tokens for _ in range(2)]
        await engine.unload()
        began = asyncio.get_running_loop().time()
        await engine.load()
        took_seconds = asyncio.get_running_loop().time() - began
        cached.append((await answer(engine, request)).done.cached_tokens)
        await engine.stop()
        return cached, took_seconds

    (first, second, after_loading), took_seconds = virtual_time.run(visit())
    assert (first, after_loading) == (0, 0)
    assert second > 0
    assert took_seconds == pytest.approx(0.25)
