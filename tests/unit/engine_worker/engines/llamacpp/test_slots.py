"""Slots that llama.cpp still works in after their request was cancelled."""

from __future__ import annotations

import asyncio

import pytest

from drover.errors import EngineFailed
from engine_worker.engines.llamacpp.api import LlamaApi, SlotState
from engine_worker.engines.llamacpp.slots import HeldSlots
from engine_worker.engines.slots import Slots


class Llama(LlamaApi):
    """Embeds when a test completes the step; asking for slot states fails the test."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.steps: list[asyncio.Future[list[float]]] = []

    async def embed(self, ids: list[int]) -> list[float]:
        self.asked.append(ids)
        self.steps.append(asyncio.get_running_loop().create_future())
        return await self.steps[-1]

    async def slots(self) -> list[SlotState]:
        raise AssertionError("llama.cpp chooses the slots of embeddings itself")


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _begins() -> None:
    return


@pytest.fixture
def llama() -> Llama:
    return Llama()


@pytest.fixture
async def held(llama: Llama) -> HeldSlots:
    return HeldSlots(Slots(1, 4), llama, pytest.fail)


def _embed(held: HeldSlots, *ids: int) -> asyncio.Task[list[float]]:
    return asyncio.create_task(held.embed(list(ids), _begins))


async def test_a_cancelled_embedding_keeps_its_slot_until_its_step_ends(
    held: HeldSlots, llama: Llama
) -> None:
    leaving, next_one = _embed(held, 1), _embed(held, 2)
    await _turn()
    leaving.cancel()
    await _turn()

    assert leaving.cancelled()
    assert (held.running, llama.asked) == (1, [[1]])
    llama.steps[0].set_result([0.5])
    await _turn()
    assert llama.asked == [[1], [2]]
    llama.steps[1].set_result([0.25])
    assert await next_one == [0.25]
    assert held.running == 0


async def test_a_cancelled_waiter_frees_its_place(held: HeldSlots, llama: Llama) -> None:
    running, waiting = _embed(held, 1), _embed(held, 2)
    await _turn()
    assert held.waiting_prompt_tokens == 1
    waiting.cancel()
    await _turn()
    llama.steps[0].set_result([0.5])

    assert await running == [0.5]
    assert (held.running, held.waiting_prompt_tokens, llama.asked) == (0, 0, [[1]])


async def test_a_failure_frees_the_slot(held: HeldSlots, llama: Llama) -> None:
    failing = _embed(held, 1)
    await _turn()
    llama.steps[0].set_exception(EngineFailed("no"))

    with pytest.raises(EngineFailed):
        await failing
    assert held.running == 0


async def test_close_cancels_running_embeddings(held: HeldSlots, llama: Llama) -> None:
    leaving = _embed(held, 1)
    await _turn()
    leaving.cancel()
    await _turn()
    held.close()
    await _turn()

    assert llama.steps[0].cancelled()
    assert held.running == 0
