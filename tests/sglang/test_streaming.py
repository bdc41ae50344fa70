"""Text and tokens as they come: nothing lost, nothing twice, nothing broken."""

from __future__ import annotations

import asyncio
import json

import ollama
import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.answers import answer_to, text_of, token_of, tokens_of
from tests.support.chat_requests import chat
from tests.support.engine_client import EngineClient
from tests.support.processes import Stack

FORCE = 100.0


async def test_characters_that_are_split_over_tokens_come_whole(engine: EngineClient) -> None:
    """A schema with one possible answer makes the model say it."""
    said = "Grüße 🌍🐑 世界, 👩‍👩‍👧!"
    request = chat("Say it.", max_tokens=120)
    request.json_schema = json.dumps({"const": said})
    answer = await answer_to(engine, request)
    assert json.loads(answer.content) == said
    assert len(answer.ids) > len(said), "nothing was split"
    for delta in answer.deltas:
        assert "\N{REPLACEMENT CHARACTER}" not in delta.content
    assert await text_of(engine, answer.ids) == answer.content


async def test_an_incomplete_character_at_the_end_is_not_shown(engine: EngineClient) -> None:
    half = (await tokens_of(engine, "🐑"))[0]
    answer = await answer_to(engine, chat("x", max_tokens=1, logit_bias={half: FORCE}))
    assert answer.ids == [half]
    assert answer.content == ""


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
async def test_the_last_chunk_brings_its_text(engine: EngineClient, limit: int) -> None:
    answer = await answer_to(engine, chat("Tell me a story.", max_tokens=limit, ignore_eos=True))
    assert len(answer.ids) == answer.done.completion_tokens == limit
    assert answer.content == await text_of(engine, answer.ids) != ""


async def test_a_stop_text_is_never_shown_in_part(engine: EngineClient) -> None:
    whole = (await answer_to(engine, chat("Tell me a story.", max_tokens=30))).content
    stop = whole[11:23]
    answer = await answer_to(engine, chat("Tell me a story.", max_tokens=30, stop=[stop]))
    assert answer.content == whole[: whole.index(stop)]
    assert (answer.done.matched_stop, answer.done.finish_reason) == (stop, pb.Done.STOP)
    shown = ""
    for delta in answer.deltas:
        shown += delta.content
        assert whole.startswith(shown)


async def test_the_end_of_sequence_token_is_counted_and_named_but_not_part_of_the_answer(
    engine: EngineClient,
) -> None:
    answer = await answer_to(engine, chat("What is the capital of France?"))
    end = await token_of(engine, "<|im_end|>")
    assert (answer.done.matched_token, answer.done.finish_reason) == (end, pb.Done.STOP)
    assert end not in answer.ids
    assert answer.done.completion_tokens == len(answer.ids) + 1
    counts = [delta.completion_tokens for delta in answer.deltas]
    assert counts == sorted(counts)


async def test_cached_tokens_and_times(engine: EngineClient) -> None:
    prompt = "No one else began like this, which is said here for the first time. " * 4
    first = (await answer_to(engine, chat(prompt, max_tokens=4, ignore_eos=True))).done
    second = (await answer_to(engine, chat(prompt, max_tokens=4, ignore_eos=True))).done
    assert first.cached_tokens < 40 < second.cached_tokens == second.prompt_tokens - 1
    assert second.timings.prefill_ns < first.timings.prefill_ns
    assert min(first.timings.queue_ns, first.timings.decode_ns) > 0


async def test_logprobs(engine: EngineClient) -> None:
    request = chat("Tell me a story.", max_tokens=6, ignore_eos=True)
    request.top_logprobs = 3
    answer = await answer_to(engine, request)
    assert [each.token_id for each in answer.logprobs] == answer.ids
    assert b"".join(each.token for each in answer.logprobs).decode() == answer.content
    for each in answer.logprobs:
        assert each.top[0].token_id == each.token_id, "greedy takes the most likely one"
        values = [other.logprob for other in each.top]
        assert values == sorted(values, reverse=True)
        assert len(values) == 3


async def test_a_long_prompt_does_not_stall_other_streams(engine: EngineClient) -> None:
    """Tokenising megabytes takes seconds, in a thread of its own: the stream continues meanwhile."""
    stream = engine.generate(chat("Tell me a story.", max_tokens=400, ignore_eos=True))
    await stream.read()
    long = pb.GenerateRequest(raw="some words of a very long prompt " * 240_000)
    long.context.num_ctx = 64
    long.sampling.max_tokens = 1
    being_made = asyncio.create_task(engine.text(long))
    loop = asyncio.get_running_loop()
    gaps, last = [], loop.time()
    while not being_made.done():
        await stream.read()
        gaps.append(loop.time() - last)
        last = loop.time()
    stream.cancel()
    assert (await being_made)[1].completion_tokens == 1
    assert len(gaps) > 5, "it was over before anything could be seen"
    # Not while the cut prompt is in the engine, which takes steps of its own.
    assert sorted(gaps)[-3] < 1.0


def test_the_official_client_streams_and_adds_up(client: ollama.Client, smol: Stack) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    parts = list(client.chat("smol", question, stream=True, options={"temperature": 0}))
    whole = client.chat("smol", question, options={"temperature": 0})
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert "Paris" in (whole.message.content or "")
    last = parts[-1]
    assert (last.done, last.done_reason) == (True, "stop")
    for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
        assert last[name] > 0
    assert (last.prompt_eval_count, last.eval_count) == (whole.prompt_eval_count, whole.eval_count)
