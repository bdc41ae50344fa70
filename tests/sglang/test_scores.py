"""Scores of labels where a model sees, or thinks."""

from __future__ import annotations

import base64

import httpx
import pytest

from drover.v1 import engine_pb2 as pb
from tests.sglang.test_vision import BLUE, RED
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import Stack


async def _scores(engine: EngineClient, *items: pb.ScoreItem) -> pb.ScoreResponse:
    return await engine.stub.Score(pb.ScoreRequest(items=items))


def _item(content: str, ids: list[int], *images: bytes) -> pb.ScoreItem:
    item = pb.ScoreItem(label_ids=ids)
    item.chat.messages.add(role="user", content=content, images=[pb.Media(data=image) for image in images])
    return item


async def test_scores_depend_on_the_images(seer: Stack) -> None:
    async with engine_client(seer.worker.address) as engine:
        items = [_item("What is it?", [5, 6], *images) for images in ((RED,), (BLUE,), ())]
        red, blue = (await _scores(engine, *items[:2])).results
        without = (await _scores(engine, items[2])).results[0]
    assert list(red.logprobs) != pytest.approx(list(blue.logprobs), abs=1e-3)
    assert red.prompt_tokens == blue.prompt_tokens > without.prompt_tokens


async def test_prompts_with_and_without_images_in_one_request(seer: Stack) -> None:
    async with engine_client(seer.worker.address) as engine:
        seen, plain = _item("What is it?", [5, 6], RED), _item("What is it?", [5, 6])
        both = (await _scores(engine, seen, plain)).results
        apart = [(await _scores(engine, item)).results[0] for item in (seen, plain)]
    for one, other in zip(both, apart, strict=True):
        assert list(one.logprobs) == pytest.approx(list(other.logprobs), abs=1e-2)
        assert one.prompt_tokens == other.prompt_tokens


def test_images_of_a_decision(seer: Stack) -> None:
    body = {
        "model": "seer",
        "state": "Look.",
        "images": [base64.b64encode(RED).decode()],
        "questions": {"red": {"type": "noul", "instructions": "It is red."}},
    }
    answer = httpx.post(f"{seer.url}/v1/systemone", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert 0 < answer.json()["answers"]["red"]["noul"] < 1


async def test_a_model_that_can_think_is_scored_without_thinking(thinker_engine: EngineClient) -> None:
    request = pb.GenerateRequest(sampling=pb.Sampling(max_tokens=1, temperature=0.0), top_logprobs=5)
    request.think.mode = pb.Think.OFF
    request.chat.messages.add(role="user", content="Is it so?")
    events = [event async for event in thinker_engine.generate(request)]
    (logprob,) = [each for event in events for delta in event.deltas for each in delta.logprobs]
    generated = {other.token_id: other.logprob for other in logprob.top}
    scored = (await _scores(thinker_engine, _item("Is it so?", [*generated]))).results[0]
    assert list(scored.logprobs) == pytest.approx([*generated.values()], abs=0.01)
    assert scored.prompt_tokens == len(events[0].started.prompt_ids)
