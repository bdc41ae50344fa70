"""What a request's queue explains of its wait, and the order in which the baselines admit requests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from benchmarks.pool.arrival_order import LEAST_RECENTLY_USED, LIKE_OLLAMA, ArrivalOrder, Policy
from benchmarks.pool.clients import Answer, Asked, ask_until
from benchmarks.pool.fleet import Residency
from benchmarks.pool.host_states import HostRecord, Moment
from benchmarks.pool.queue_explained import Turns
from benchmarks.pool.workload import simulated
from tests.support.waiting import until

_TURNS = Turns(Residency(5.0, 0.0), load_seconds=2.0, models=2, places=4, answer_seconds=1.0)


def record(*moments: Moment) -> HostRecord:
    return HostRecord("h:1", Path(), is_measured=False, moments=list(moments))


def waited(seconds: float, ahead: int = 0) -> Answer:
    return Answer("c", asked=100.0, ended=100.0 + seconds + 1, wait=seconds, ahead=ahead)


def test_turns_that_come_first_are_explained() -> None:
    """Two models within their residency and one that waits longer: three turns, two at a time."""
    host = record(Moment(99.0, {"a": 98.0, "b": 97.0}, (), (), ["d", "c"]))
    assert _TURNS.unexplained(waited(12.0), [host]) == pytest.approx(12 - 3 * 7 / 2)


@pytest.mark.parametrize(("loads", "turns", "stay"), [(0, 1, 5), (8, 1, 16), (100, 1, 60), (100, 3, 20)])
def test_how_long_a_busy_model_stays(loads: float, turns: int, stay: float) -> None:
    assert Residency(5.0, loads).busy_seconds(2.0, turns) == stay


def test_a_model_whose_turn_is_over_explains_nothing() -> None:
    host = record(Moment(99.0, {"a": 50.0, "b": 50.0}, (), (), ["c"]))
    assert _TURNS.unexplained(waited(3.0), [host]) == 3.0


def test_the_queue_counts_when_the_request_began_to_wait_for_it() -> None:
    """The model was evicted after the request had come."""
    host = record(
        Moment(99.0, {"c": 50.0}, (), (), []),
        Moment(101.0, {"a": 100.5}, ["b"], (), ["c"]),
        Moment(109.0, {}, (), (), ["c"]),
    )
    assert _TURNS.unexplained(waited(8.0), [host]) == pytest.approx(8 - 2 * 7 / 2)


def test_requests_for_the_same_model_that_came_first_are_explained() -> None:
    host = record(Moment(99.0, {"c": 50.0}, (), (), []))
    assert _TURNS.unexplained(waited(4.0, ahead=8), [host]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("policy", "passes"), [(LEAST_RECENTLY_USED, False), (LIKE_OLLAMA, True)], ids=lambda each: str(each)
)
async def test_whether_requests_for_a_loaded_model_pass_the_queue(policy: Policy, passes: bool) -> None:
    sent: list[str] = []

    async def send(model: str) -> httpx.Response:
        sent.append(model)
        return httpx.Response(200)

    host = record(Moment(0.0, {"a": 0.0}, (), (), []))
    in_order = ArrivalOrder(policy, [(host, send)])
    tasks = [asyncio.create_task(in_order.run())]
    tasks += [asyncio.create_task(_ask(in_order, model)) for model in ("b", "a")]
    await until(lambda: "b" in sent, 30, "the first request is sent")
    await asyncio.sleep(0)
    assert sent == (["a", "b"] if passes else ["b"])
    host.moments.append(Moment(1.0, {"a": 0.0, "b": 1.0}, (), (), []))
    host.changed.set()
    await until(lambda: len(sent) == 2, 30, "all are sent")
    for task in tasks:
        task.cancel()


async def _ask(in_order: ArrivalOrder, model: str) -> None:
    await in_order(model)


async def test_a_request_that_is_never_answered_has_waited() -> None:
    async def send(model: str) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError(model)

    asked = Asked(simulated())
    await ask_until(asked, send, clients=2, seconds=0.05)
    assert [each.wait >= 0.05 for each in asked.unanswered] == [True, True]
    assert (asked.answers, asked.failed) == ([], 0)
