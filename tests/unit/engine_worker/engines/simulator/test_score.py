from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from drover.errors import CapabilityMissing, ContextExceeded, QueueFull
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator import SimulatorConfig, SimulatorEngine
from engine_worker.engines.simulator.script import ScriptError, Scripts
from engine_worker.engines.simulator.tokens import Tokenizer
from tests.unit.engine_worker.engines.simulator.harness import FAST, STILL, before_deadline, until

_STATE = "Customer: I was charged twice and want my money back. " * 8


@pytest.fixture
async def engine() -> AsyncIterator[SimulatorEngine]:
    engine = await _started(FAST)
    yield engine
    await before_deadline(engine.stop())


async def _started(config: SimulatorConfig) -> SimulatorEngine:
    engine = SimulatorEngine(["sim"], config)
    await engine.start()
    return engine


def _scripts(folder: Path, *entries: object) -> Path:
    path = folder / "script.json"
    path.write_text(json.dumps(entries))
    return path


def _chat(content: str, *labels: str) -> pb.ScoreItem:
    item = pb.ScoreItem(labels=labels or ("yes", "no"))
    item.chat.messages.add(role="user", content=content)
    return item


async def test_every_item_has_logprobs_in_order_of_its_labels(engine: SimulatorEngine) -> None:
    request = pb.ScoreRequest(items=[_chat("one", "A", "B", "C"), pb.ScoreItem(raw="two", labels=["B", "A"])])
    response = await before_deadline(engine.score(request))
    first, second = response.results
    tokens = Tokenizer(3).encode
    assert list(first.label_ids) == [*tokens("A"), *tokens("B"), *tokens("C")]
    assert list(second.label_ids) == [*tokens("B"), *tokens("A")]
    assert 0 < math.fsum(map(math.exp, first.logprobs)) <= 1
    assert response.prompt_tokens == first.prompt_tokens + second.prompt_tokens
    assert response.timings.prefill_ns > 0
    assert await before_deadline(engine.score(request))  # nothing is held


async def test_label_ids_and_token_prompts_give_the_same(engine: SimulatorEngine) -> None:
    ids = await engine.tokenize("two", add_special=True)
    by_text = await engine.score(pb.ScoreRequest(items=[pb.ScoreItem(raw="two", labels=["A", "B"])]))
    item = pb.ScoreItem(tokens=pb.TokenIds(ids=ids), label_ids=by_text.results[0].label_ids)
    by_ids = await engine.score(pb.ScoreRequest(items=[item]))
    assert by_ids.results[0].logprobs == by_text.results[0].logprobs


async def test_items_share_the_prefix_of_their_state(engine: SimulatorEngine) -> None:
    items = [_chat(f"{_STATE}\n\nQuestion {number}?") for number in range(64)]
    response = await before_deadline(engine.score(pb.ScoreRequest(items=items)))
    state = len(await engine.tokenize(_STATE, add_special=True))
    assert response.prompt_tokens - response.cached_tokens < state + 64 * 32
    assert engine.load_report().prefill_tokens_done == response.prompt_tokens - response.cached_tokens


async def test_salts_do_not_share_a_cache(engine: SimulatorEngine) -> None:
    items = [_chat(_STATE)]
    for salt in ("a", "b"):
        response = await engine.score(pb.ScoreRequest(items=items, cache_salt=salt))
        assert response.cached_tokens == 0
    assert (await engine.score(pb.ScoreRequest(items=items, cache_salt="a"))).cached_tokens > 0


async def test_scripted_probabilities_by_label(tmp_path: Path) -> None:
    path = _scripts(
        tmp_path,
        {"match": "refund", "scores": {"yes": 0.25, "no": 0.5}},
        {"match": "refund", "events": [{"text": "Sure."}]},
    )
    engine = await _started(replace(FAST, script_path=path))
    response = await engine.score(pb.ScoreRequest(items=[_chat("a refund?", "yes", "no", "A")]))
    assert [math.exp(each) for each in response.results[0].logprobs] == pytest.approx([0.25, 0.5, 1e-9])
    scripts = Scripts.read(path, Tokenizer(3))
    assert scripts.find("a refund?") is scripts.entries[1]
    await before_deadline(engine.stop())


@pytest.mark.parametrize(
    "entry",
    [
        {"match": "x", "scores": {}},
        {"match": "x", "scores": {"A": 1.5}},
        {"match": "x", "scores": {"A": True}},
        {"match": "x", "scores": {"A": 0.7, "B": 0.7}},
        {"match": "x", "scores": [1]},
    ],
)
def test_impossible_scores_are_refused(entry: object, tmp_path: Path) -> None:
    with pytest.raises(ScriptError):
        Scripts.read(_scripts(tmp_path, entry), Tokenizer(3))


async def test_the_capability_is_what_the_vocabulary_allows() -> None:
    for token_bytes, decides in ((3, True), (2, False)):
        engine = await _started(replace(FAST, token_bytes=token_bytes))
        assert engine.model().capabilities.decision == decides
        await before_deadline(engine.stop())


async def test_nothing_is_truncated(engine: SimulatorEngine) -> None:
    request = pb.ScoreRequest(items=[_chat(_STATE)], num_ctx=16)
    with pytest.raises(ContextExceeded):
        await before_deadline(engine.score(request))


async def test_cancelled_and_refused_requests_hold_nothing() -> None:
    engine = await _started(replace(STILL, running_limit=1, queue_limit=0))
    request = pb.ScoreRequest(items=[_chat("a"), _chat("b")])
    task = asyncio.create_task(engine.score(request))
    await until(lambda: engine.load_report().running == 1)
    with pytest.raises(QueueFull):
        await before_deadline(engine.score(request))
    task.cancel()
    await until(task.done)
    assert engine.load_report().running == 0
    await before_deadline(engine.stop())


async def test_a_worker_for_embeddings_does_not_score() -> None:
    engine = SimulatorEngine(["sim"], FAST, "embed")
    await engine.start()
    with pytest.raises(CapabilityMissing, match="cannot score"):
        await before_deadline(engine.score(pb.ScoreRequest(items=[_chat("a")])))
    await before_deadline(engine.stop())
