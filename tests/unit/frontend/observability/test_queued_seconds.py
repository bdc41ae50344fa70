"""Time in queues, of which a worker says its own part."""

from __future__ import annotations

import pytest
from starlette.types import Message

from drover.v1 import engine_pb2 as pb
from frontend.observability.request_record import RequestRecord


async def _send(message: Message) -> None:
    raise AssertionError(message)


@pytest.mark.parametrize(
    ("queue_ns", "seconds"), [(500_000_000, 0.5), (-(1 << 62), 0.0), ((1 << 63) - 1, 86_400.0)]
)
def test_a_workers_impossible_time_in_its_queue_is_bounded(queue_ns: int, seconds: float) -> None:
    record = RequestRecord("r", _send)
    record.done = pb.Done(timings=pb.Timings(queue_ns=queue_ns))
    assert record.queued_seconds == seconds
