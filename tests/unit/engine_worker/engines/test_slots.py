"""Slots: first come, first served, never lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from drover.errors import QueueFull
from engine_worker.engines.slots import Slots

_DEADLINE_SECONDS = 30.0


def _take(slots: Slots, prompt_tokens: int = 1) -> asyncio.Task[int]:
    return asyncio.create_task(slots.take(min, prompt_tokens))


async def _turn() -> None:
    """Lets every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _soon(task: asyncio.Task[int]) -> int:
    return await asyncio.wait_for(asyncio.shield(task), _DEADLINE_SECONDS)


async def test_free_slots_are_taken_at_once_by_choice() -> None:
    slots = Slots(3, 0)

    assert await slots.take(max, 1) == 2
    assert await slots.take(min, 1) == 0
    assert (slots.running, slots.limit, slots.waiting) == (2, 3, 0)


async def test_waiting_is_first_come_first_served() -> None:
    slots = Slots(1, 10)
    await slots.take(min, 1)
    waiters = [_take(slots, prompt_tokens=10) for _ in range(3)]
    await _turn()
    assert (slots.running, slots.waiting, slots.waiting_prompt_tokens) == (1, 3, 30)

    for number, waiter in enumerate(waiters):
        slots.give_back(0)
        assert await _soon(waiter) == 0
        assert slots.waiting == 2 - number
        assert not any(later.done() for later in waiters[number + 1 :])
    slots.give_back(0)

    assert (slots.running, slots.waiting) == (0, 0)


async def test_an_assigned_slot_cannot_be_taken_by_another_request() -> None:
    slots = Slots(1, 10)
    await slots.take(min, 1)
    waiter = _take(slots)
    await _turn()

    slots.give_back(0)
    late = _take(slots)

    assert await _soon(waiter) == 0
    assert not late.done()
    slots.give_back(0)
    assert await _soon(late) == 0


@pytest.mark.parametrize("queue_limit", [0, 2])
async def test_a_full_queue_is_refused_in_ollama_s_words(queue_limit: int) -> None:
    slots = Slots(1, queue_limit)
    await slots.take(min, 1)
    waiters = [_take(slots) for _ in range(queue_limit)]
    await _turn()

    with pytest.raises(QueueFull) as refused:
        await slots.take(min, 1)

    assert refused.value.message == "server busy, please try again.  maximum pending requests exceeded"
    assert slots.waiting == queue_limit
    for waiter in waiters:
        slots.give_back(0)
        await _soon(waiter)


async def test_a_request_cancelled_while_waiting_leaves_the_queue() -> None:
    slots = Slots(1, 2)
    await slots.take(min, 1)
    first, second = _take(slots), _take(slots)
    await _turn()

    first.cancel()
    await _turn()

    assert slots.waiting == 1
    third = _take(slots)
    await _turn()
    slots.give_back(0)
    assert await _soon(second) == 0
    slots.give_back(0)
    assert await _soon(third) == 0


async def test_a_request_cancelled_when_assigned_passes_the_slot_on() -> None:
    slots = Slots(1, 2)
    await slots.take(min, 1)
    first, second = _take(slots), _take(slots)
    await _turn()

    slots.give_back(0)
    first.cancel()

    assert await _soon(second) == 0
    assert first.cancelled()
    slots.give_back(0)
    assert (slots.running, slots.waiting) == (0, 0)


async def test_a_request_cancelled_just_before_its_turn_does_not_keep_the_slot() -> None:
    slots = Slots(1, 2)
    await slots.take(min, 1)
    first, second = _take(slots), _take(slots)
    await _turn()

    first.cancel()
    slots.give_back(0)

    assert await _soon(second) == 0
    slots.give_back(0)
    assert (slots.running, slots.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_under_stress_no_slot_is_lost_or_shared(seed: int) -> None:
    chance = random.Random(seed)
    slots = Slots(4, 1000)
    held: set[int] = set()
    served = 0

    async def request() -> None:
        nonlocal served
        slot = await slots.take(lambda free: chance.choice(sorted(free)), 1)
        assert slot not in held
        held.add(slot)
        try:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            served += 1
        finally:
            held.remove(slot)
            slots.give_back(slot)

    tasks = [asyncio.create_task(request()) for _ in range(300)]
    async with asyncio.timeout(_DEADLINE_SECONDS):
        while not all(task.done() for task in tasks):
            chance.choice(tasks).cancel()
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert all(outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert served > 0
    assert (slots.running, slots.waiting, slots.waiting_prompt_tokens) == (0, 0, 0)
    assert sorted([await slots.take(min, 1) for _ in range(4)]) == [0, 1, 2, 3]
