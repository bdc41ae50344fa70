"""What every engine must do alike: the same meaning of every field, or announced incapable."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest

from drover.errors import CapabilityMissing, ContextExceeded, InvalidRequest
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from tests.engines.conftest import FLAGS, SENTENCEPIECE
from tests.support.answers import error_of, rest_of
from tests.support.chat_requests import chat
from tests.support.engine_client import EngineClient
from tests.support.waiting import until

pytestmark = pytest.mark.real_model
# The SentencePiece model is so small that its answers are over before anybody could cancel them.
in_no_hurry = pytest.mark.parametrize("engine_process", sorted({*FLAGS} - {SENTENCEPIECE}), indirect=True)


async def events_of(engine: EngineClient, request: pb.GenerateRequest) -> list[pb.GenerateEvent]:
    return [event async for event in engine.generate(request)]


async def test_a_stream_starts_once_ends_once_and_adds_up(engine: EngineClient) -> None:
    events = await events_of(engine, chat("Tell me about the sea.", max_tokens=20))
    assert events[0].HasField("started")
    assert [event.HasField("done") for event in events] == [False] * (len(events) - 1) + [True]
    assert not any(event.HasField("started") for event in events[1:])
    deltas = [delta for event in events for delta in event.deltas]
    done = events[-1].done
    token_ids = [token for delta in deltas for token in delta.token_ids]
    text = "".join(delta.content for delta in deltas)
    assert done.prompt_tokens == len(events[0].started.prompt_ids)
    assert done.completion_tokens - len(token_ids) in (0, 1)  # the end-of-sequence token counts
    assert (await engine.stub.Detokenize(pb.DetokenizeRequest(ids=token_ids))).text == text
    counts = [delta.completion_tokens for delta in deltas]
    assert counts == sorted(counts)
    assert counts[-1] <= done.completion_tokens
    timings = done.timings
    assert min(timings.queue_ns, timings.prefill_ns, timings.decode_ns) > 0


async def test_greedy_answers_repeat(engine: EngineClient) -> None:
    first, _ = await engine.text(chat("Tell me about the sea.", max_tokens=20))
    second, _ = await engine.text(chat("Tell me about the sea.", max_tokens=20))
    assert first == second != ""


async def test_render_is_the_prompt(engine: EngineClient) -> None:
    request = chat("Tell me about the sea.", max_tokens=1)
    rendered = await engine.stub.Render(pb.RenderRequest(request=request))
    events = await events_of(engine, request)
    assert list(events[0].started.prompt_ids) == list(rendered.ids)
    assert "Tell me about the sea." in rendered.text


async def test_an_empty_message_of_the_assistant_at_the_end_is_like_none(engine: EngineClient) -> None:
    request = chat("Tell me about the sea.")
    without = await engine.stub.Render(pb.RenderRequest(request=request))
    request.chat.messages.add(role="assistant")
    request.chat.continue_last = True
    assert (await engine.stub.Render(pb.RenderRequest(request=request))).text == without.text


async def test_text_survives_the_tokenizer(engine: EngineClient) -> None:
    text = "Grüße, 世界! 😀 <b>x</b>\n"
    ids = (await engine.stub.Tokenize(pb.TokenizeRequest(text=text))).ids
    survived = (await engine.stub.Detokenize(pb.DetokenizeRequest(ids=ids))).text
    # A SentencePiece vocabulary puts a space in front.
    assert survived.removeprefix(" ") == text


async def test_finished_prompts_are_used_as_they_are(engine: EngineClient) -> None:
    ids = list((await engine.stub.Tokenize(pb.TokenizeRequest(text="The capital of France is"))).ids)
    request = pb.GenerateRequest(
        tokens=pb.TokenIds(ids=ids), sampling=pb.Sampling(temperature=0, max_tokens=4)
    )
    raw = pb.GenerateRequest(raw="The capital of France is", sampling=request.sampling)
    assert (await engine.text(request))[0] == (await engine.text(raw))[0]


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_max_tokens_ends_as_length(engine: EngineClient, limit: int) -> None:
    _, done = await engine.text(chat("Tell me a long story.", max_tokens=limit, ignore_eos=True))
    assert (done.finish_reason, done.completion_tokens) == (pb.Done.LENGTH, limit)


async def test_stop_texts_end_the_answer_and_are_not_shown(engine: EngineClient) -> None:
    whole, _ = await engine.text(chat("Tell me a long story.", max_tokens=30))
    stop = whole[10:14]
    cut, done = await engine.text(chat("Tell me a long story.", max_tokens=30, stop=["never there", stop]))
    assert cut == whole[: whole.index(stop)]
    assert (done.finish_reason, done.matched_stop) == (pb.Done.STOP, stop)


async def test_text_that_began_like_a_stop_is_shown_when_the_answer_ends_otherwise(
    engine: EngineClient,
) -> None:
    whole, _ = await engine.text(chat("Tell me a long story.", max_tokens=12, ignore_eos=True))
    held = chat("Tell me a long story.", max_tokens=12, ignore_eos=True, stop=[whole[-6:] + "and never this"])
    assert (await engine.text(held))[0] == whole


async def test_a_special_token_at_the_limit_is_not_shown(engine: EngineClient, model: pb.Model) -> None:
    """After the end of a turn a model begins the next one, with a token that is no text."""
    request = pb.GenerateRequest(
        raw="<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n",
        sampling=pb.Sampling(temperature=0, max_tokens=1, ignore_eos=True),
    )
    text, done = await engine.text(request)
    assert "<|" not in text
    assert done.completion_tokens == 1


async def test_a_character_that_the_limit_cuts_is_not_shown(engine: EngineClient, model: pb.Model) -> None:
    ids = (await engine.stub.Tokenize(pb.TokenizeRequest(text="🐑"))).ids
    shown = [(await engine.stub.Detokenize(pb.DetokenizeRequest(ids=[token]))).text for token in ids]
    half = next(token for token, text in zip(ids, shown, strict=True) if "\N{REPLACEMENT CHARACTER}" in text)
    sampling = pb.Sampling(temperature=0, max_tokens=1, logit_bias={half: 100.0})
    events = await events_of(engine, pb.GenerateRequest(raw="A sheep: ", sampling=sampling))
    deltas = [delta for event in events for delta in event.deltas]
    if model.capabilities.logit_bias:
        # llama.cpp tells nothing of a token whose text never comes.
        assert [token for delta in deltas for token in delta.token_ids] in ([half], [])
    assert events[-1].done.completion_tokens == 1
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(delta.content for delta in deltas)


async def test_the_window_is_the_limit_of_prompt_and_answer(engine: EngineClient, model: pb.Model) -> None:
    request = chat("Tell me a long story.", ignore_eos=True)
    request.context.num_ctx = 64
    request.context.shift = False
    _, done = await engine.text(request)
    assert done.finish_reason == pb.Done.LENGTH
    assert done.prompt_tokens + done.completion_tokens == 64
    assert model.context_length == 512


async def test_the_oldest_messages_give_way(engine: EngineClient) -> None:
    request = pb.GenerateRequest(sampling=pb.Sampling(temperature=0, max_tokens=1))
    request.chat.messages.add(role="system", content="Be brief.")
    for number in range(40):
        request.chat.messages.add(role="user", content=f"This is message number {number} of many.")
    rendered = await engine.stub.Render(pb.RenderRequest(request=request))
    assert rendered.truncated_tokens > 0
    assert "Be brief." in rendered.text
    assert "number 39 " in rendered.text
    assert "number 0 " not in rendered.text
    request.context.truncate = False
    assert isinstance(await error_of(engine, request), ContextExceeded)


@pytest.mark.parametrize(("size", "num_keep", "kept"), [(256, 4, 130), (256, 24, 140), (128, 0, 64)])
@pytest.mark.parametrize("kind", ["raw", "tokens"])
async def test_one_prompt_that_is_too_long_is_cut_to_what_ollama_keeps(
    engine: EngineClient, kind: str, size: int, num_keep: int, kept: int
) -> None:
    text = "one two three four five six seven eight nine ten " * 40
    ids = list((await engine.stub.Tokenize(pb.TokenizeRequest(text=text, add_special=True))).ids)
    request = pb.GenerateRequest(sampling=pb.Sampling(temperature=0, max_tokens=1))
    request.context.num_ctx, request.context.num_keep = size, num_keep
    if kind == "raw":
        request.raw = text
    else:
        request.tokens.ids.extend(ids)
    events = await events_of(engine, request)
    assert list(events[0].started.prompt_ids) == ids[:num_keep] + ids[num_keep - kept :]
    assert events[0].started.truncated_tokens == len(ids) - kept


async def test_unsupported_requests_are_refused(engine: EngineClient, model: pb.Model) -> None:
    continued = chat("x", max_tokens=1)
    (first, *_) = (await engine.stub.Tokenize(pb.TokenizeRequest(text="x"))).ids
    continued.continuation.prompt_ids.append(first)
    if model.capabilities.resume:
        assert (await engine.text(continued))[1].prompt_tokens == 1
    else:
        assert isinstance(await error_of(engine, continued), CapabilityMissing)
    assert isinstance(await error_of(engine, pb.GenerateRequest()), InvalidRequest)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await engine.stub.Embed(pb.EmbedRequest(texts=["x"]))
    assert isinstance(error_from_status(failed.value), CapabilityMissing)
    constrained = chat("x", max_tokens=5)
    constrained.any_json = True
    if model.capabilities.json_constraint:
        assert (await engine.text(constrained))[0].startswith("{")
    else:
        assert isinstance(await error_of(engine, constrained), CapabilityMissing)


async def test_logprobs_are_one_per_token(engine: EngineClient, model: pb.Model) -> None:
    request = chat("Tell me a long story.", max_tokens=6, ignore_eos=True)
    request.top_logprobs = 2
    events = await events_of(engine, request)
    deltas = [delta for event in events for delta in event.deltas]
    logprobs = [logprob for delta in deltas for logprob in delta.logprobs]
    logged = [logprob.token_id for logprob in logprobs]
    ids = [token for delta in deltas for token in delta.token_ids]
    # As under Ollama, llama.cpp tells one for all tokens of a character.
    splits = model.names[0].startswith("sentencepiece")
    assert (len(ids) - len(logged), ids[-1]) == (1, logged[-1]) if splits else ids == logged
    assert b"".join(logprob.token for logprob in logprobs).decode() == "".join(
        delta.content for delta in deltas
    )
    for logprob in logprobs:
        assert logprob.logprob <= 0
        values = [other.logprob for other in logprob.top]
        assert len(values) == 2
        assert values == sorted(values, reverse=True)


async def test_a_repeated_prompt_is_found_in_the_prefix_cache(engine: EngineClient) -> None:
    prompt = "An uncommon beginning, said only here. " * 4
    _, first = await engine.text(chat(prompt, max_tokens=1))
    _, second = await engine.text(chat(prompt, max_tokens=1))
    assert first.cached_tokens < second.cached_tokens <= second.prompt_tokens - 1
    salted = chat(prompt, max_tokens=1)
    salted.cache_salt = "another tenant"
    _, third = await engine.text(salted)
    assert third.cached_tokens == 0


@in_no_hurry
async def test_cancelling_frees_the_slot_and_the_counts_are_exact(engine: EngineClient) -> None:
    calls = [engine.generate(chat(f"Story {number}, a long one.", ignore_eos=True)) for number in range(3)]
    for call in calls:
        await call.read()
    assert (await engine.load()).running == 3
    for call in calls:
        call.cancel()
    assert await until(engine.idle, 5, "all slots are free") < 0.5


@in_no_hurry
async def test_one_id_is_cancelled_while_one_that_begins_alike_continues(engine: EngineClient) -> None:
    requests = [chat("Tell me a long story.", max_tokens=30, ignore_eos=True) for _ in range(2)]
    calls = []
    for request, request_id in zip(requests, ("ab" * 15, "ab" * 16), strict=True):
        request.request_id = request_id
        calls.append(engine.stub.GenerateStream(request))
    await asyncio.gather(*(call.read() for call in calls))
    assert (await engine.stub.Abort(pb.AbortRequest(request_id="ab" * 15))).found
    assert (await rest_of(calls[1]))[-1].done.completion_tokens == 30
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await rest_of(calls[0])
    assert ended.value.code() is grpc.StatusCode.CANCELLED


async def test_many_more_requests_than_slots_are_all_answered(engine: EngineClient) -> None:
    """Each of them is prepared, waits and runs; none is lost on the way."""
    answers = await asyncio.gather(
        *(engine.text(chat(f"Number {number}.", max_tokens=2, ignore_eos=True)) for number in range(150))
    )
    assert {done.completion_tokens for _, done in answers} == {2}
    await until(engine.idle, 2, "all slots are free")


@pytest.mark.parametrize("window", [-1, 0, 64, 2**31 - 1])
async def test_a_penalty_looks_back_as_far_as_it_can(engine: EngineClient, window: int) -> None:
    request = chat("Hi.", max_tokens=2, ignore_eos=True, repeat_last_n=window, repeat_penalty=1.1)
    assert (await engine.text(request))[1].completion_tokens == 2


async def test_ids_of_no_token_are_refused(engine: EngineClient) -> None:
    request = pb.GenerateRequest(tokens=pb.TokenIds(ids=[2**32 - 1]), sampling=pb.Sampling(max_tokens=1))
    assert isinstance(await error_of(engine, request), InvalidRequest)


async def test_the_model_describes_itself(model: pb.Model) -> None:
    assert model.names
    assert len(model.digest) == 64
    assert model.engine_kind in {"llamacpp", "sglang", "simulator"}
    assert "general.architecture" in json.loads(model.model_info_json)
    assert model.capabilities.completion
