"""What a scrape shows of failures: errors, workers without requests, the database, the event loop."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message

from drover.errors import ClientLeft, DroverError, ModelNotFound, QueueFull
from drover.v1 import engine_pb2 as pb
from frontend.observability.loop_delay import watched_loop
from frontend.observability.metrics import Metrics
from frontend.observability.request_record import RequestRecord
from frontend.routing.fleet import Fleet, WorkerStatus
from tests.support.waiting import until


def _fleet(*workers: WorkerStatus) -> Fleet:
    fleet = SimpleNamespace(queues=SimpleNamespace(waiting_by_model={"smol": 3}), workers=lambda: workers)
    return cast("Fleet", fleet)


def _status(address: str, report: pb.LoadReport | None, stalled: bool, avoided: bool) -> WorkerStatus:
    return WorkerStatus(address, "smol", False, 0, 0.0, None, report, stalled, avoided)


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


async def _send(message: Message) -> None: ...


@pytest.mark.parametrize(
    ("error", "name"),
    [(QueueFull("full"), "QueueFull"), (ModelNotFound("x"), "ModelNotFound"), (ClientLeft("left"), None)],
)
async def test_a_failed_request_counts_under_its_errors_name(error: DroverError, name: str | None) -> None:
    metrics = Metrics(_fleet())
    record = RequestRecord("id", _send)
    record.record_error(error)

    metrics.count(record, "/api/chat")

    counted = 0.0 if name is None else 1.0
    assert (_value(metrics, "drover_frontend_errors_total", error=str(name), model="") or 0.0) == counted


async def test_a_worker_without_new_requests_shows_the_reason() -> None:
    workers = (
        _status("a:1", pb.LoadReport(draining=True), stalled=False, avoided=False),
        _status("b:1", pb.LoadReport(), stalled=True, avoided=False),
        _status("c:1", None, stalled=False, avoided=True),
    )
    metrics = Metrics(_fleet(*workers))

    shown = {
        (reason, address[0]): _value(
            metrics, f"drover_frontend_worker_{reason}", worker=address, model="smol"
        )
        for reason in ("draining", "stalled", "circuit_open")
        for address in ("a:1", "b:1", "c:1")
    }

    assert {key for key, value in shown.items() if value} == {
        ("draining", "a"),
        ("stalled", "b"),
        ("circuit_open", "c"),
    }
    assert None not in shown.values()


async def test_the_database_that_failed_last_is_shown() -> None:
    is_available = True
    metrics = Metrics(_fleet(), has_database=lambda: is_available)
    assert _value(metrics, "drover_frontend_database_available") == 1

    is_available = False
    assert _value(metrics, "drover_frontend_database_available") == 0


@pytest.mark.parametrize(("expires", "shown"), [(None, None), (0.0, 0.0), (1.8e9, 1.8e9)])
async def test_the_end_of_the_certificate_is_shown_where_there_is_one(
    expires: float | None, shown: float | None
) -> None:
    metrics = Metrics(_fleet(), certificate_expires=lambda: expires)
    assert _value(metrics, "drover_frontend_certificate_expiry_timestamp_seconds") == shown


async def test_a_blocked_event_loop_is_seen() -> None:
    delays: list[float] = []
    async with watched_loop(delays.append):
        await asyncio.sleep(0)
        time.sleep(0.6)  # noqa: ASYNC251 - what is measured
        await until(lambda: bool(delays), 30, "a delay is measured")

    assert delays[0] >= 0.3
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "watch the event loop"]
