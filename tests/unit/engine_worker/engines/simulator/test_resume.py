"""Resuming answers of another worker from every place where their stream can break."""

from __future__ import annotations

from dataclasses import replace

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator import SimulatorEngine
from frontend.routing.journal import Journal
from tests.unit.engine_worker.engines.simulator.harness import FAST, Answer, answer, prompt_request, running
from tests.unit.engine_worker.engines.simulator.test_scripted_output import Scripted
from tests.unit.engine_worker.engines.simulator.test_scripted_output import scripted as scripted

_EARLIER = pb.Timings(queue_ns=1, load_ns=2, prefill_ns=10**12, decode_ns=10**12)


async def _one_by_one(engine: SimulatorEngine, request: pb.GenerateRequest) -> Answer:
    """With an event for each delta, as a stream that is never slow has them."""
    whole = await answer(engine, request)
    first = whole.events[0].started
    events = [pb.GenerateEvent(deltas=[delta]) for event in whole.events for delta in event.deltas]
    return Answer([pb.GenerateEvent(started=first), *events, pb.GenerateEvent(done=whole.done)])


async def _cut_everywhere(engine: SimulatorEngine, request: pb.GenerateRequest) -> None:
    whole = await _one_by_one(engine, request)
    for cut in range(1, len(whole.events)):
        journal = Journal()
        for event in whole.events[:cut]:
            journal.record(event)
        rest = pb.GenerateRequest()
        rest.CopyFrom(request)
        rest.continuation.CopyFrom(journal.continuation(_EARLIER))
        resumed = await answer(engine, rest)

        both = Answer([*whole.events[:cut], *resumed.events])
        assert (both.text, both.thinking) == (whole.text, whole.thinking), cut
        assert both.token_ids == whole.token_ids, cut
        assert _calls(both) == _calls(whole), cut
        assert resumed.done.finish_reason == whole.done.finish_reason
        assert resumed.done.completion_tokens == whole.done.completion_tokens
        assert resumed.done.prompt_tokens == whole.done.prompt_tokens
        assert resumed.done.timings.prefill_ns > 10**12


def _calls(whole: Answer) -> list[tuple[str, str, str]]:
    return [(call.id, call.name, call.arguments_fragment) for call in whole.calls]


async def test_text_with_split_characters() -> None:
    async with running(FAST) as engine:
        await _cut_everywhere(engine, prompt_request("tell me", max_tokens=60))


async def test_a_stop_text_over_the_joint() -> None:
    async with running(FAST) as engine:
        whole = await answer(engine, prompt_request("tell me", max_tokens=60))
        stop = whole.text[40:52]
        await _cut_everywhere(engine, prompt_request("tell me", max_tokens=60, stop=[stop]))


async def test_thinking_and_calls(scripted: Scripted) -> None:
    script = (
        {"thinking": "Hm, "},
        {"thinking": "so 🐑"},
        {"text": "Paris"},
        {"pause_ms": 1},
        {"tool_call": {"name": "look", "arguments": {"where": "hill"}}},
        {"text": "done 世界"},
    )
    async with scripted(*script) as engine:
        await _cut_everywhere(engine, prompt_request())


async def test_a_random_answer_keeps_its_produced_tokens() -> None:
    request = prompt_request("tell me", max_tokens=30, temperature=1)
    async with running(FAST) as engine:
        whole = await answer(engine, request)
        produced = whole.token_ids[:10]
        request.continuation.CopyFrom(
            pb.Continuation(
                prompt_ids=whole.started.prompt_ids,
                produced_ids=produced,
                content_characters_sent=len(await engine.detokenize(produced)),
            )
        )
        resumed = await answer(engine, request)
        both = await engine.detokenize([*produced, *resumed.token_ids])

    # A character that the limit cuts is not shown.
    assert await engine.detokenize(produced) + resumed.text == both.removesuffix("�")
    assert resumed.done.completion_tokens in (30, 10 + len(resumed.token_ids) + 1)


async def test_a_random_answer_completes_a_split_character() -> None:
    for text in ("δρόμος", "🐑🚀", "世界", "…"):
        async with running(replace(FAST, token_bytes=1)) as engine:
            ids = await engine.tokenize(text, add_special=False)
            for cut in range(1, len(ids)):
                produced = ids[:cut]
                request = prompt_request("tell me", max_tokens=cut + 12, temperature=1)
                request.continuation.CopyFrom(pb.Continuation(prompt_ids=[*ids], produced_ids=produced))
                resumed = await answer(engine, request)
                assert "\N{REPLACEMENT CHARACTER}" not in resumed.text[:-1]


async def test_an_answer_with_all_its_tokens_ends_at_once() -> None:
    async with running(FAST) as engine:
        whole = await answer(engine, prompt_request("x", max_tokens=5))
        request = prompt_request("x", max_tokens=5)
        journal = Journal()
        for event in whole.events:
            journal.record(event)
        request.continuation.CopyFrom(journal.continuation(_EARLIER))
        resumed = await answer(engine, request)

    assert (resumed.text, resumed.done.finish_reason) == ("", pb.Done.LENGTH)
    assert resumed.done.completion_tokens == 5
