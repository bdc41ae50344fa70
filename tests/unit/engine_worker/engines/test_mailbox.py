"""What waits in a mailbox leaves together, in order, and with every token accounted for."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.output.mailbox import Mailbox

_DEADLINE_SECONDS = 30.0


async def _take(mailbox: Mailbox) -> pb.GenerateEvent:
    async with asyncio.timeout(_DEADLINE_SECONDS):
        return await mailbox.take()


async def test_a_few_tokens_stay_apart_in_one_message() -> None:
    mailbox = Mailbox()
    for number, word in enumerate(["A", "B", "C"]):
        mailbox.content(word, [number], number + 1)

    event = await _take(mailbox)

    assert [(delta.content, list(delta.token_ids)) for delta in event.deltas] == [
        ("A", [0]),
        ("B", [1]),
        ("C", [2]),
    ]
    assert not mailbox.ready


async def test_where_many_pile_up_deltas_of_a_kind_are_joined() -> None:
    mailbox = Mailbox()
    for number in range(7):
        mailbox.content("x", [10 + number], number)
    mailbox.started(pb.Started(prompt_ids=[1, 2]))
    mailbox.thinking("h", [3], 1)
    mailbox.thinking("m", [4], 2)
    mailbox.content("A", [5], 3, [pb.TokenLogprob(token_id=5)])
    mailbox.content("B", [6, 7], 5, [pb.TokenLogprob(token_id=6)])
    mailbox.tool_call(pb.ToolCallDelta(index=0, id="c"), [8], 6)
    mailbox.tool_call(pb.ToolCallDelta(index=0, complete=True), [], 6)
    mailbox.content("C", [], 6)
    mailbox.done(pb.Done(finish_reason=pb.Done.STOP))

    event = await _take(mailbox)

    assert list(event.started.prompt_ids) == [1, 2]
    assert [delta.content for delta in event.deltas[:7]] == ["x"] * 7
    thought, text, call, rest = event.deltas[7:]
    assert (thought.thinking, list(thought.token_ids), thought.completion_tokens) == ("hm", [3, 4], 2)
    assert (text.content, list(text.token_ids), text.completion_tokens) == ("AB", [5, 6, 7], 5)
    assert [entry.token_id for entry in text.logprobs] == [5, 6]
    assert [piece.complete for piece in call.tool_calls] == [False, True]
    assert rest.content == "C"
    assert event.done.finish_reason == pb.Done.STOP
    assert not mailbox.ready


@pytest.mark.parametrize("is_taken", [False, True])
async def test_a_shown_stop_text_follows_the_text_that_it_ends(is_taken: bool) -> None:
    mailbox = Mailbox()
    mailbox.shown_stops = ["END"]
    mailbox.thinking("hm", [1], 1)
    mailbox.content("", [2], 2)
    taken = list((await _take(mailbox)).deltas) if is_taken else []
    mailbox.done(pb.Done(finish_reason=pb.Done.STOP, matched_stop="END"))

    event = await _take(mailbox)

    assert "".join(delta.thinking for delta in [*taken, *event.deltas]) == "hmEND"
    assert "".join(delta.content for delta in [*taken, *event.deltas]) == ""


async def test_more_than_a_frontend_takes_is_several_messages() -> None:
    mailbox = Mailbox()
    entry = pb.TokenLogprob(token_id=1, token=b"x" * 20, logprob=-1)
    for number in range(20):
        entry.top.add(token_id=number, token=b"y" * 20, logprob=-1)
    for number in range(20_000):
        mailbox.content("x" * 8, [number], number + 1, [entry])
    mailbox.done(pb.Done(finish_reason=pb.Done.STOP))

    events = []
    while mailbox.ready:
        events.append(await _take(mailbox))

    assert max(event.ByteSize() for event in events) < 8 * 1024 * 1024
    tokens = [token for event in events for delta in event.deltas for token in delta.token_ids]
    assert tokens == list(range(20_000))
    assert sum(len(event.deltas) for event in events) < 200
    assert [event.HasField("done") for event in events] == [False] * (len(events) - 1) + [True]


async def test_a_taker_that_waits_gets_the_first_thing_at_once() -> None:
    mailbox = Mailbox()
    taking = asyncio.create_task(_take(mailbox))
    await asyncio.sleep(0)
    assert not mailbox.ready

    mailbox.content("A", [1], 1)

    assert (await taking).deltas[0].content == "A"


async def test_events_that_were_taken_do_not_change_later() -> None:
    mailbox = Mailbox()
    mailbox.content("A", [1], 1)
    first = await _take(mailbox)

    mailbox.content("B", [2], 2)

    assert first.deltas[0].content == "A"
    assert (await _take(mailbox)).deltas[0].content == "B"


async def test_lists_that_were_put_are_not_changed_by_joining() -> None:
    mailbox = Mailbox(max_separate=0)
    ids, entries = [1], [pb.TokenLogprob(token_id=1)]
    mailbox.content("A", ids, 1, entries)
    for number in (2, 3):
        mailbox.content("B", [number], number, [pb.TokenLogprob(token_id=number)])

    (delta,) = (await _take(mailbox)).deltas

    assert (delta.content, list(delta.token_ids), delta.completion_tokens) == ("ABB", [1, 2, 3], 3)
    assert [entry.token_id for entry in delta.logprobs] == [1, 2, 3]
    assert (ids, len(entries)) == ([1], 1)


async def test_tokens_without_text_are_accounted_for() -> None:
    mailbox = Mailbox()
    mailbox.content("", [1], 1)

    (delta,) = (await _take(mailbox)).deltas

    assert (delta.content, list(delta.token_ids), delta.completion_tokens) == ("", [1], 1)


async def test_a_failure_comes_after_what_was_put_before_it_and_stays() -> None:
    mailbox = Mailbox()
    mailbox.content("A", [1], 1)
    mailbox.fail(EngineFailed("died"))

    assert (await _take(mailbox)).deltas[0].content == "A"
    for _ in range(2):
        with pytest.raises(EngineFailed, match=r"^died$"):
            await _take(mailbox)


async def test_a_failure_wakes_the_taker() -> None:
    mailbox = Mailbox()
    taking = asyncio.create_task(_take(mailbox))
    await asyncio.sleep(0)

    mailbox.fail(EngineFailed("died"))

    with pytest.raises(EngineFailed):
        await taking


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_cancelled_taker_leaves_everything_to_the_next(cancel_first: bool) -> None:
    mailbox = Mailbox()
    taking = asyncio.create_task(_take(mailbox))
    await asyncio.sleep(0)
    if cancel_first:
        taking.cancel()
    mailbox.content("A", [1], 1)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking

    assert (await _take(mailbox)).deltas[0].content == "A"


PIECES = st.lists(
    st.tuples(st.sampled_from(["content", "thinking", "take"]), st.text(max_size=3)), max_size=20
)


@given(PIECES)
async def test_nothing_is_lost_or_reordered_whenever_it_is_taken(pieces: list[tuple[str, str]]) -> None:
    mailbox = Mailbox()
    events: list[pb.GenerateEvent] = []
    number = 0
    for kind, text in pieces:
        if kind == "take":
            if mailbox.ready:
                events.append(await _take(mailbox))
        else:
            number += 1
            put = mailbox.content if kind == "content" else mailbox.thinking
            put(text, [number], number)
    if mailbox.ready:
        events.append(await _take(mailbox))

    deltas = [delta for event in events for delta in event.deltas]
    assert [token for delta in deltas for token in delta.token_ids] == list(range(1, number + 1))
    for kind in ("content", "thinking"):
        sent = "".join(text for name, text in pieces if name == kind)
        assert "".join(getattr(delta, kind) for delta in deltas) == sent
    assert not any(delta.content and delta.thinking for delta in deltas)
