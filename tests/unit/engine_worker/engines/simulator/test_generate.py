from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from drover.errors import CapabilityMissing, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.tokens import Tokenizer, bytes_of, bytes_of_all
from tests.unit.engine_worker.engines.simulator.harness import FAST, Answer, answer, prompt_request, running

TOKENIZER = Tokenizer(3)


async def answer_of_new_engine(request: pb.GenerateRequest) -> Answer:
    async with running(FAST) as engine:
        return await answer(engine, request)


async def test_an_answer_ends_by_itself_and_accounts_for_every_token() -> None:
    async with running(FAST) as engine:
        result = await answer(engine, prompt_request())
    done = result.done
    assert done.finish_reason == pb.Done.STOP
    assert done.WhichOneof("matched") is None
    assert TOKENIZER.decode(result.token_ids) == result.text
    assert TOKENIZER.encode(result.text) == result.token_ids
    assert done.completion_tokens == len(result.token_ids) + 1
    assert FAST.answer_tokens_min <= len(result.token_ids) <= FAST.answer_tokens_max
    assert done.prompt_tokens == len(result.started.prompt_ids)
    timings = done.timings
    assert min(timings.queue_ns, timings.prefill_ns, timings.decode_ns) > 0
    assert timings.load_ns == 0


async def test_started_comes_with_the_first_delta() -> None:
    async with running(FAST) as engine:
        result = await answer(engine, prompt_request())
    assert result.events[0].HasField("started")
    assert result.events[0].deltas
    assert not any(event.HasField("started") for event in result.events[1:])
    counts = [delta.completion_tokens for delta in result.deltas]
    assert counts == sorted(counts)
    assert counts[-1] == len(result.token_ids)


async def test_answers_depend_on_the_prompt_and_on_nothing_else_at_temperature_0() -> None:
    async with running(FAST) as one, running(FAST) as other:
        texts = await asyncio.gather(
            answer(one, prompt_request("a")),
            answer(one, prompt_request("a", temperature=0, seed=7)),
            answer(other, prompt_request("a")),
            answer(other, prompt_request("b")),
        )
    assert texts[0].text == texts[1].text == texts[2].text
    assert texts[0].text != texts[3].text


def test_other_processes_give_the_same_answer() -> None:
    program = (
        "import asyncio\n"
        "from tests.unit.engine_worker.engines.simulator import test_generate as t\n"
        "print(ascii(asyncio.run(t.answer_of_new_engine(t.prompt_request('a'))).text))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    there = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    here = asyncio.run(answer_of_new_engine(prompt_request("a"))).text
    assert there.stdout.strip() == ascii(here)


async def test_the_engines_seed_changes_all_answers() -> None:
    async with running(FAST) as one, running(replace(FAST, seed=1)) as other:
        assert (await answer(one, prompt_request())).text != (await answer(other, prompt_request())).text


async def test_seeds_decide_above_temperature_0() -> None:
    async with running(FAST) as engine:
        texts = [
            (await answer(engine, request)).text
            for request in [prompt_request(temperature=0.8, seed=seed) for seed in (1, 1, 2, -1, -1)]
            + [prompt_request(temperature=0.8)]
        ]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 5


@pytest.mark.parametrize("token_bytes", [1, 2, 3])
async def test_split_characters_are_held_back_until_they_are_whole(token_bytes: int) -> None:
    config = replace(FAST, token_bytes=token_bytes)
    async with running(config) as engine:
        result = await answer(engine, prompt_request(ignore_eos=True, max_tokens=2000))
    assert len(result.token_ids) == 2000
    assert all(delta.content for delta in result.deltas)
    assert "�" not in result.text[:-1]
    assert any(len(character.encode()) == 4 for character in result.text)
    assert bytes_of_all(result.token_ids).decode(errors="replace") == result.text


async def test_a_character_that_is_cut_off_is_not_shown() -> None:
    """As by llama.cpp and under Ollama."""
    async with running(replace(FAST, token_bytes=1)) as engine:
        whole = await answer(engine, prompt_request(ignore_eos=True, max_tokens=2000))
        split = next(at for at, each in enumerate(whole.token_ids) if bytes_of(each) >= b"\xf0")
        result = await answer(engine, prompt_request(ignore_eos=True, max_tokens=split + 2))
    assert result.text == whole.text[: len(result.text)]
    assert "�" not in result.text
    assert len(result.token_ids) == split + 2


async def test_max_tokens_end_an_answer() -> None:
    async with running(FAST) as engine:
        result = await answer(engine, prompt_request(max_tokens=5))
        nothing = await answer(engine, prompt_request(max_tokens=0))
    assert result.done.finish_reason == nothing.done.finish_reason == pb.Done.LENGTH
    assert len(result.token_ids) == result.done.completion_tokens == 5
    assert nothing.text == ""
    assert nothing.done.completion_tokens == 0
    assert nothing.started.prompt_ids == result.started.prompt_ids


async def test_an_answer_may_end_with_its_last_allowed_token() -> None:
    async with running(replace(FAST, answer_tokens_min=9, answer_tokens_max=9)) as engine:
        cut = await answer(engine, prompt_request(max_tokens=9))
        whole = await answer(engine, prompt_request(max_tokens=10))
    assert (cut.done.finish_reason, cut.done.completion_tokens) == (pb.Done.LENGTH, 9)
    assert (whole.done.finish_reason, whole.done.completion_tokens) == (pb.Done.STOP, 10)


async def test_a_full_window_ends_an_answer() -> None:
    async with running(FAST) as engine:
        request = prompt_request(ignore_eos=True)
        request.context.num_ctx = 64
        done = (await answer(engine, request)).done
    assert done.finish_reason == pb.Done.LENGTH
    assert done.prompt_tokens + done.completion_tokens == 64


async def test_a_stop_text_ends_an_answer_before_it() -> None:
    async with running(FAST) as engine:
        whole = (await answer(engine, prompt_request())).text
        stop = whole[20:32]
        result = await answer(engine, prompt_request(stop=[stop, "never said"]))
    assert result.text == whole[: whole.index(stop)]
    assert result.done.finish_reason == pb.Done.STOP
    assert result.done.matched_stop == stop
    assert result.done.completion_tokens == len(result.token_ids)
    assert whole.index(stop) + len(stop) <= len(TOKENIZER.decode(result.token_ids))


async def test_logprobs_wait_with_their_tokens() -> None:
    async with running(replace(FAST, token_bytes=1)) as engine:
        request = prompt_request(ignore_eos=True, max_tokens=500)
        request.top_logprobs = 0
        result = await answer(engine, request)
    assert any(len(delta.token_ids) > 1 for delta in result.deltas)
    for delta in result.deltas:
        assert [each.token_id for each in delta.logprobs] == list(delta.token_ids)
        assert bytes_of_all(delta.token_ids).decode(errors="replace") == delta.content


async def test_tokens_of_the_beginning_of_a_stop_text_wait_for_its_text() -> None:
    async with running(FAST) as engine:
        whole = await answer(engine, prompt_request(ignore_eos=True, max_tokens=12))
        stop = whole.text + "not this"
        result = await answer(engine, prompt_request(ignore_eos=True, max_tokens=12, stop=[stop]))
    assert result.text == whole.text
    assert len(result.deltas) == 1
    assert result.token_ids == whole.token_ids


async def test_tokens_of_a_stop_text_come_with_the_end() -> None:
    async with running(FAST) as engine:
        whole = (await answer(engine, prompt_request())).text
        result = await answer(engine, prompt_request(stop=[whole[:30]]))
    assert result.text == ""
    assert len(result.deltas) == 1
    assert len(result.token_ids) == result.done.completion_tokens > 1
    assert result.events[-1].deltas == result.deltas


async def test_logprobs_are_plausible_and_always_the_same() -> None:
    async with running(FAST) as engine:
        request = prompt_request(max_tokens=40)
        request.top_logprobs = 20
        result = await answer(engine, request)
        again = await answer(engine, request)
        request.top_logprobs = 0
        without_top = await answer(engine, request)
    assert [each.token_id for each in result.logprobs] == result.token_ids
    assert result.logprobs == again.logprobs
    for each in result.logprobs:
        assert each.token == bytes_of(each.token_id)
        values = [other.logprob for other in each.top]
        assert values == sorted(values, reverse=True)
        assert len({other.token_id for other in each.top}) == len(each.top) == 20
        assert all(other.token == bytes_of(other.token_id) for other in each.top)
        assert (each.top[0].token_id, each.top[0].logprob) == (each.token_id, each.logprob)
        assert values[0] < 0
        assert sum(map(math.exp, values)) <= 1
    assert [each.logprob for each in without_top.logprobs] == [each.logprob for each in result.logprobs]
    assert not any(each.top for each in without_top.logprobs)


async def test_no_logprobs_unless_asked_for() -> None:
    async with running(FAST) as engine:
        assert (await answer(engine, prompt_request(max_tokens=4))).logprobs == []


async def test_options_without_effect_are_named() -> None:
    request = prompt_request(
        repeat_penalty=1.1, presence_penalty=0, frequency_penalty=0.5, typical_p=1, max_tokens=1
    )
    request.sampling.logit_bias[7] = 1
    async with running(FAST) as engine:
        started = (await answer(engine, request)).started
        plain = (await answer(engine, prompt_request(max_tokens=1))).started
    assert list(started.not_honoured) == ["repeat_penalty", "frequency_penalty", "logit_bias"]
    assert list(plain.not_honoured) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (pb.GenerateRequest(any_json=True), "^the simulator cannot constrain its output$"),
        (pb.GenerateRequest(json_schema="{}"), "^the simulator cannot constrain its output$"),
        (pb.GenerateRequest(chat=pb.ChatInput(tools=[pb.Tool()])), "cannot call tools"),
        (pb.GenerateRequest(tool_choice=pb.ToolChoice(mode=pb.ToolChoice.REQUIRED)), "made to call a tool"),
        (pb.GenerateRequest(tool_choice=pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="f")), "made to call"),
        (pb.GenerateRequest(think=pb.Think(mode=pb.Think.ON)), "cannot think"),
    ],
)
async def test_unsupported_requests_are_refused(change: pb.GenerateRequest, reason: str) -> None:
    request = prompt_request()
    request.MergeFrom(change)
    async with running(FAST) as engine:
        with pytest.raises(CapabilityMissing, match=reason):
            await answer(engine, request)
        assert engine.load_report().running == 0


async def test_too_many_alternatives_are_refused() -> None:
    request = prompt_request()
    request.top_logprobs = 21
    async with running(FAST) as engine:
        with pytest.raises(InvalidRequest, match="top_logprobs is 21, it must be 0 to 20"):
            await answer(engine, request)


async def test_an_answer_has_the_least_tokens_that_are_asked_for() -> None:
    async with running(replace(FAST, answer_tokens_min=2, answer_tokens_max=2)) as engine:
        short = await answer(engine, prompt_request(temperature=0))
        long = await answer(engine, prompt_request(temperature=0, min_tokens=9))
    # With the end-of-sequence token.
    assert (short.done.completion_tokens, long.done.completion_tokens) == (3, 10)
    assert long.text.startswith(short.text)
