"""Answers that were begun by another worker, cut wherever a stream can be cut."""

from __future__ import annotations

from dataclasses import replace

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator import SimulatorEngine
from frontend.routing.journal import Journal
from tests.unit.engine_worker.engines.simulator.harness import FAST, Answer, answer, asking, running
from tests.unit.engine_worker.engines.simulator.test_playing import Playing
from tests.unit.engine_worker.engines.simulator.test_playing import playing as playing

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
        await _cut_everywhere(engine, asking("tell me", max_tokens=60))


async def test_a_stop_text_over_the_joint() -> None:
    async with running(FAST) as engine:
        whole = await answer(engine, asking("tell me", max_tokens=60))
        stop = whole.text[40:52]
        await _cut_everywhere(engine, asking("tell me", max_tokens=60, stop=[stop]))


async def test_thinking_and_calls(playing: Playing) -> None:
    script = (
        {"thinking": "Hm, "},
        {"thinking": "so 🐑"},
        {"text": "Paris"},
        {"pause_ms": 1},
        {"tool_call": {"name": "look", "arguments": {"where": "hill"}}},
        {"text": "done 世界"},
    )
    async with playing(*script) as engine:
        await _cut_everywhere(engine, asking())


async def test_what_was_said_stays_where_the_text_is_another_each_time() -> None:
    request = asking("tell me", max_tokens=30, temperature=1)
    async with running(FAST) as engine:
        whole = await answer(engine, request)
        said = whole.token_ids[:10]
        request.continuation.CopyFrom(
            pb.Continuation(
                prompt_ids=whole.started.prompt_ids,
                produced_ids=said,
                content_characters_sent=len(await engine.detokenize(said)),
            )
        )
        resumed = await answer(engine, request)
        both = await engine.detokenize([*said, *resumed.token_ids])

    # A character that the limit cuts is not shown.
    assert await engine.detokenize(said) + resumed.text == both.removesuffix("�")
    assert resumed.done.completion_tokens in (30, 10 + len(resumed.token_ids) + 1)


async def test_a_character_that_was_begun_is_ended_where_the_text_is_another_each_time() -> None:
    for text in ("δρόμος", "🐑🚀", "世界", "…"):
        async with running(replace(FAST, token_bytes=1)) as engine:
            ids = await engine.tokenize(text, add_special=False)
            for cut in range(1, len(ids)):
                said = ids[:cut]
                request = asking("tell me", max_tokens=cut + 12, temperature=1)
                request.continuation.CopyFrom(pb.Continuation(prompt_ids=[*ids], produced_ids=said))
                resumed = await answer(engine, request)
                assert "\N{REPLACEMENT CHARACTER}" not in resumed.text[:-1]


async def test_an_answer_that_had_all_its_tokens_ends_at_once() -> None:
    async with running(FAST) as engine:
        whole = await answer(engine, asking("x", max_tokens=5))
        request = asking("x", max_tokens=5)
        journal = Journal()
        for event in whole.events:
            journal.record(event)
        request.continuation.CopyFrom(journal.continuation(_EARLIER))
        resumed = await answer(engine, request)

    assert (resumed.text, resumed.done.finish_reason) == ("", pb.Done.LENGTH)
    assert resumed.done.completion_tokens == 5
