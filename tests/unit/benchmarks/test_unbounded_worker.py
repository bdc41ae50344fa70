"""The source without limit: numbered tokens in order, and no more of them than can leave."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.client.numbered import Order
from benchmarks.targets.unbounded_worker import Source
from drover.v1 import engine_pb2 as pb
from engine_worker.output.mailbox import Mailbox
from tests.support.waiting import until

_SECONDS = 5.0
_LIMIT = 100


def _request() -> pb.GenerateRequest:
    return pb.GenerateRequest(sampling=pb.Sampling(max_tokens=_LIMIT))


@pytest.mark.parametrize("tokens_a_row", [1, 8])
async def test_tokens_come_in_order_until_the_limit(tokens_a_row: int) -> None:
    source, mailbox, order = Source(tokens_a_row), Mailbox(), Order()
    generating = asyncio.create_task(source.generate(_request(), mailbox))
    tokens, rows = 0, 0
    async with asyncio.timeout(_SECONDS):
        while not mailbox.is_over:
            event = await mailbox.take()
            rows += 1
            tokens += sum(order.accept(delta.content) for delta in event.deltas)
            assert len(event.deltas) <= tokens_a_row
        await generating
    source.stop()
    assert (tokens, rows) == (_LIMIT, -(-_LIMIT // tokens_a_row))


async def test_a_request_whose_rows_do_not_leave_gets_no_more_and_holds_up_no_other() -> None:
    source, unread, other = Source(1), Mailbox(), Mailbox()
    tasks = [asyncio.create_task(source.generate(_request(), mailbox)) for mailbox in (unread, other)]
    async with asyncio.timeout(_SECONDS):
        while not other.is_over:
            await other.take()
    await until(lambda: source.report().running == 1, _SECONDS, "the other one is over")
    source.stop()
    assert len((await unread.take()).deltas) == 1
    assert source.report().kv_tokens_used <= 2
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
